-- The seed fills the source, so it has to run first: depends_on: {{ ref('raw_orders') }}
with source as (
    select * from {{ source('shop', 'raw_orders') }}
),

cleaned as (
    select
        ---------- ids
        id as order_id,
        customer_id,

        ---------- texts
        status,

        ---------- timestamps
        ordered_at,
        loaded_at
    from source
)

select * from cleaned
