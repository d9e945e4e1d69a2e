"""What became of runs, nodes, tests and tables over time, as data: a DuckDB file that is made from `runs/`.

record     run.json: what a run says of itself in its own folder, beside what dbt wrote
folders    the folders of a run, and whether one changed since it was read
attempt    one attempt of a dbt command as rows
fold       from the folders of a run to rows: of failed, of killed and of older runs likewise
schema     the tables; views, in views.sql
relations  rows and bytes of the tables of a generation
store      one history file: made, filled, pruned, read
update     the file of the volume brought up to date, and given to what is published; it never fails a run
"""
