-- The seed fills the source, so it has to run first: depends_on: {{ ref('raw_customers') }}
with source as (
    select * from {{ source('shop', 'raw_customers') }}
),

cleaned as (
    select
        ---------- ids
        id as customer_id,

        ---------- texts
        first_name,
        last_name,
        lower(trim(email)) as email,
        upper(country) as country,

        ---------- timestamps
        signed_up_on,
        loaded_at
    from source
)

select * from cleaned
