select
    n.id,
    cast((n.id - n.id % 4) / 4 as bigint) as order_id,
    n.id * 7919 % 20000 as part_id,
    n.id * 31 % 50 + 1 as quantity,
    (n.id * 31 % 50 + 1) * (n.id * 7919 % 20000 % 900 + 100) as price,
    n.id % 11 as discount_percent,
    cast({{ dbt.dateadd("day", "n.id * 37 % 2500", "date '1992-01-01'") }} as date) as shipped,
    case n.id % 3 when 0 then 'A' when 1 then 'N' else 'R' end as return_flag,
    case n.id % 2 when 0 then 'F' else 'O' end as status
from {{ numbers(var('rows') | int) }} as n
