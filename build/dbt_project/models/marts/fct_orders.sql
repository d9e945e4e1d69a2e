{{
    config(
        materialized='incremental',
        unique_key='order_id',
        incremental_strategy='delete+insert',
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
        coalesce(sum(amount) filter (amount > 0), 0) as paid_amount,
        coalesce(-sum(amount) filter (amount < 0), 0) as refunded_amount,
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
        coalesce(paid.paid_amount, 0)::decimal(12, 2) as paid_amount,
        coalesce(paid.refunded_amount, 0)::decimal(12, 2) as refunded_amount,
        coalesce(paid.paid_amount - paid.refunded_amount, 0)::decimal(12, 2) as net_amount,

        ---------- timestamps
        orders.ordered_at,
        -- A late payment makes its order new again.
        greatest(orders.loaded_at, paid.loaded_at) as loaded_at
    from orders
    left join payments_per_order as paid on orders.order_id = paid.order_id
)

select * from joined
{% if is_incremental() %}
-- By arrival, never by the order's own date: a late row is old by its date and new by its arrival.
where loaded_at >= (select coalesce(max(loaded_at), '-infinity') from {{ this }})
{% endif %}
