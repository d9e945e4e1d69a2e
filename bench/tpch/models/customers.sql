select
    n.id,
    n.id % 25 as nation_id,
    case n.id % 5 when 0 then 'BUILDING' when 1 then 'AUTOMOBILE' when 2 then 'MACHINERY' else 'HOUSEHOLD' end as segment
from {{ numbers([var('rows') | int // 40, 1] | max) }} as n
