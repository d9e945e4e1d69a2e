{#- How rows with a unique key are replaced: on Trino in one statement, as there each one commits by itself. -#}
{% macro strategy_by_key() %}
    {{- return(adapter.dispatch('strategy_by_key')()) -}}
{% endmacro %}

{% macro default__strategy_by_key() %}
    {{- return('delete+insert') -}}
{% endmacro %}

{% macro trino__strategy_by_key() %}
    {{- return('merge') -}}
{% endmacro %}
