select
    n.id,
    n.id * 104729 % {{ [var('rows') | int // 40, 1] | max }} as customer_id,
    cast({{ dbt.dateadd("day", "n.id * 17 % 2400", "date '1992-01-01'") }} as date) as ordered,
    n.id % 5 as priority
from {{ numbers(var('rows') | int // 4) }} as n
