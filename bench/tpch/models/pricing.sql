-- Query 1: one pass over all rows.
select
    return_flag,
    status,
    sum(quantity) as quantity,
    sum(price) as price,
    sum(price * (100 - discount_percent)) as discounted,
    count(*) as items
from {{ ref('lineitem') }}
where shipped <= date '1998-09-02'
group by return_flag, status
