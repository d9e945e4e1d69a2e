"""A DuckLake as the warehouse: its catalog in PostgreSQL, its data files in a folder or on S3, many readers.

ducklake  the kind: what a run that writes or reads does first and last
build     what one run builds on
catalog   the records of builds in PostgreSQL, and the way from one to the next
copies    a build's own catalog: made, and taken away
session   the connection to PostgreSQL, and the lock that ends with it
files     what DuckDB does with the data files

DuckLake keeps a table's rows in files that never change, and in PostgreSQL which files are whose: the catalog. Each
commit of a model is a snapshot in the same line, without branches, so what a failed build committed would be what the
next one begins from. There were two ways out, both tried with DuckLake 1.0 of DuckDB 1.5.5:

- Undo the snapshots that were not published, row by row. The catalog has more than rows with a first and a last
  snapshot: statistics that are changed in place, small tables that are kept as tables of PostgreSQL, and ids that
  readers cache. A newer DuckLake may add to these, and an undo that misses one gives wrong rows without an error.
- Give each build a catalog of its own, which is the way here. A catalog is one schema of PostgreSQL (METADATA_SCHEMA),
  so a build copies the published schema, table by table, whatever is in them, in one transaction (0.1 s for a small
  project, 0.6 s with 20,000 files and 400,000 rows of statistics). No row of it is shared with what readers see.

    shop              the schema with our records: dbtpod_lake, dbtpod_builds, and the view `readable`
    shop_000007       the catalog of a build; the names are never used again, so no reader caches another one's ids

A generation is such a schema with its last snapshot, after the tests passed; publishing and the way back move one mark,
in one transaction. A failed or killed build leaves a schema that no reader looks into. The run that comes back resumes
with it, or it is dropped, with the files that no other build names. As a build is never changed once it is published,
a reader that is attached to it sees that one build and nothing else, until it is removed.

Right before a build is published, all snapshots of its catalog but the last are expired, each by its number: what they
name besides is in the builds before, which readers may hold. `expire_older_than` would know nothing of that. Data files
are deleted when a build is removed that names them and no other build does; DuckLake's own cleaning, which knows one
catalog, is set to a thousand years.

One run writes at a time, though two builds share no row of a catalog: the later would be published over the earlier.
Inside of one catalog DuckLake loses what concurrent writers commit (duckdb/ducklake#1283, #1094, #1404).
"""
