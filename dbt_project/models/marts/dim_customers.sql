with customers as (
    select * from {{ ref('stg_customers') }}
),

orders as (
    select * from {{ ref('fct_orders') }}
),

orders_per_customer as (
    select
        customer_id,
        count(*) as order_count,
        sum(net_amount) as lifetime_amount,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at
    from orders
    where status != 'cancelled'
    group by customer_id
),

joined as (
    select
        ---------- ids
        customers.customer_id,

        ---------- texts
        customers.first_name,
        customers.last_name,
        customers.email,
        customers.country,

        ---------- numerics
        coalesce(ordered.order_count, 0) as order_count,
        cast(coalesce(ordered.lifetime_amount, 0) as decimal(12, 2)) as lifetime_amount,

        ---------- timestamps
        customers.signed_up_on,
        ordered.first_ordered_at,
        ordered.last_ordered_at
    from customers
    left join orders_per_customer as ordered on customers.customer_id = ordered.customer_id
)

select * from joined
