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
        (amount_cents / 100)::decimal(12, 2) as amount,

        ---------- timestamps
        paid_at,
        loaded_at
    from source
)

select * from cleaned
