-- The seed fills the source, so it has to run first: depends_on: {{ ref('raw_payments') }}
with source as (
    select * from {{ source('shop', 'raw_payments') }}
),

cleaned as (
    select
        ---------- ids
        id as payment_id,
        order_id,

        ---------- texts
        method,

        ---------- numerics
        cast(amount_cents * 0.01 as decimal(12, 2)) as amount,

        ---------- timestamps
        paid_at,
        loaded_at
    from source
)

select * from cleaned
