-- Query 3: the three tables joined.
select
    item.order_id,
    placed.ordered,
    placed.priority,
    sum(item.price * (100 - item.discount_percent)) as revenue
from {{ ref('customers') }} as customer
inner join {{ ref('orders') }} as placed on placed.customer_id = customer.id
inner join {{ ref('lineitem') }} as item on item.order_id = placed.id
where customer.segment = 'BUILDING'
group by item.order_id, placed.ordered, placed.priority
