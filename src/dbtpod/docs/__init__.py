"""dbt's documentation and the column lineage of one generation, of what the generation holds.

tables      the relations of its DuckDB file, as both need them
site        dbt docs as one HTML file: its manifest.json, and a catalog.json of the DuckDB file
compiled    the SQL of its models, as dbt compiled it
columns     from which columns of its parents each column of a model is made
make        a process that makes one of them
making      that process: started with a bound of its time and memory, and what its end means
cache       the files that were made, for the generations that there still are
made        which are there, and what is made next
"""
