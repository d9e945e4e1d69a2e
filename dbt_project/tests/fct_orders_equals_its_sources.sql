with expected as (
    select
        orders.order_id,
        orders.status,
        coalesce(sum(payments.amount), 0) as net_amount
    from {{ ref('stg_orders') }} as orders
    left join {{ ref('stg_payments') }} as payments on orders.order_id = payments.order_id
    group by orders.order_id, orders.status
),

built as (
    select order_id, status, net_amount from {{ ref('fct_orders') }}
)

select coalesce(expected.order_id, built.order_id) as order_id
from expected
full join built on expected.order_id = built.order_id
where expected.status is distinct from built.status or expected.net_amount is distinct from built.net_amount
