{% macro limit_duckdb() %}
    {#- Read while dbt runs, never while it parses: the same variables in profiles.yml would void the parse cache. -#}
    {%- if execute -%}
        {%- set limits = {
            'memory_limit': env_var('DBTPOD_MEMORY_LIMIT', ''),
            'temp_directory': env_var('DBTPOD_TEMP_DIRECTORY', ''),
            'max_temp_directory_size': env_var('DBTPOD_TEMP_LIMIT', ''),
        } -%}
        {%- for setting, value in limits.items() if value -%}
            {#- Once DuckDB has spilled, it refuses to be given a folder, even the one it has. -#}
            {%- if run_query("select current_setting('" ~ setting ~ "')").columns[0][0] != value -%}
                {%- do run_query("set global " ~ setting ~ " = '" ~ value | replace("'", "''") ~ "'") -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{% endmacro %}
