{{
    config(
        materialized='incremental',
        unique_key='order_id',
        incremental_strategy=strategy_by_key(),
        on_schema_change='fail',
        post_hook="delete from {{ this }} where order_id not in (select order_id from {{ ref('stg_orders') }})"
    )
}}

with orders as (
    select * from {{ ref('stg_orders') }}
),

payments as (
    select * from {{ ref('stg_payments') }}
),

payments_per_order as (
    select
        order_id,
        count(*) as payment_count,
        coalesce(sum(amount) filter (where amount > 0), 0) as paid_amount,
        coalesce(-sum(amount) filter (where amount < 0), 0) as refunded_amount,
        max(loaded_at) as loaded_at
    from payments
    group by order_id
),

joined as (
    select
        ---------- ids
        orders.order_id,
        orders.customer_id,

        ---------- texts
        orders.status,

        ---------- numerics
        coalesce(paid.payment_count, 0) as payment_count,
        cast(coalesce(paid.paid_amount, 0) as decimal(12, 2)) as paid_amount,
        cast(coalesce(paid.refunded_amount, 0) as decimal(12, 2)) as refunded_amount,
        cast(coalesce(paid.paid_amount - paid.refunded_amount, 0) as decimal(12, 2)) as net_amount,

        ---------- timestamps
        orders.ordered_at,
        -- A late payment makes its order new again. For Trino, the greatest of anything and null is null.
        greatest(orders.loaded_at, coalesce(paid.loaded_at, orders.loaded_at)) as loaded_at
    from orders
    left join payments_per_order as paid on orders.order_id = paid.order_id
)

select * from joined
{% if is_incremental() %}
-- By arrival, never by the order's own date: a late row is old by its date and new by its arrival.
where loaded_at >= (select coalesce(max(loaded_at), timestamp '1970-01-01 00:00:00') from {{ this }})
{% endif %}
