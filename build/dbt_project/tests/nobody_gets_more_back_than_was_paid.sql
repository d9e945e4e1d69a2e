select order_id, paid_amount, refunded_amount
from {{ ref('fct_orders') }}
where refunded_amount > paid_amount
