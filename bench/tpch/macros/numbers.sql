{# The numbers from 0 to `count` - 1, as the column id. #}
{% macro numbers(count) %}{{ return(adapter.dispatch('numbers')(count)) }}{% endmacro %}

{% macro default__numbers(count) %}(select range as id from range({{ count }})){% endmacro %}

{% macro trino__numbers(count) %}(
    select tens.id * 10000 + ones.id as id
    from unnest(sequence(0, {{ (count - 1) // 10000 }})) as tens (id)
    cross join unnest(sequence(0, 9999)) as ones (id)
    where tens.id * 10000 + ones.id < {{ count }}
){% endmacro %}
