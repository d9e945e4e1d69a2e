"""The tables of a generation, copied to where the warehouse is now: a database server, or a DuckLake.

tables      which table of the DuckDB file is which relation there, by dbt's ids of nodes
columns     one column: how its values are written there, and what of it is compared
copying     all tables, each compared when its rows are there
postgres    into a PostgreSQL server: types, tables and rows, all in one transaction
ducklake    into a DuckLake: the tables of a build that is published when all are there
move        what `dbtpod move` does (flow: the same as a ready flow)
"""
