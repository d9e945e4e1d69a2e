-- Query 18: a group for each order.
select placed.customer_id, placed.id as order_id, sum(item.quantity) as quantity
from {{ ref('orders') }} as placed
inner join {{ ref('lineitem') }} as item on item.order_id = placed.id
group by placed.customer_id, placed.id
having sum(item.quantity) > 120
