"""The tables of a generation, copied into the database server that is the warehouse now.

tables      which table of the DuckDB file is which relation of the server, by dbt's ids of nodes
columns     DuckDB's types: what each is in PostgreSQL, and how its values go there
postgres    a PostgreSQL server: tables made, rows taken, and summed up
copying     all tables in one transaction, each compared when its rows are there
move        what `dbtpod move` does (flow: the same as a ready flow)
"""
