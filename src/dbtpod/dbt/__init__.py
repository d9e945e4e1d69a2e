"""Running dbt, and reading what it says.

arguments        dbt's command line: its options, and the same command for other nodes
profile          the file that a command will write to
record           our own record of a command's attempts
repeatable       which nodes may run twice
changes          what is another in a project than in the attempt before, and what of that is good still
variables        the environment variables that its files read
listing          what `dbt ls` lists
inspection       what dbt says of commands and of a project that it does not run (inspector: the process that is asked)
names            the project's names that a command may give, read from dbt's manifest.json
reachable        a bounded wait for a database server that is away
process          the one seam to dbt: start, lines, stop (program: a process of it; parent_death: it never outlives us)
kept             a dbt that lists nodes, and runs the next command without another import (one_by_one: its process)
kinds            where its data is kept, and which targets fit that
project          where the project is, and what was made of its profile
profile_source   the user's own profile (profile_targets: which of its targets can be used)
effective_profile  the profile that runs use, made of that one (run_target: one target; rendering: one value)
duckdb_plugin    the limits that DuckDB gets when it connects: loaded by dbt itself
lake             the DuckLake that a target builds in, as the profile says it
extensions       DuckDB's extensions that are installed as packages
packages         dbt deps, while the image is built
parse_state      what dbt parsed, baked into the image (kept_state: on a laptop, what it parsed last)
yaml_file        a YAML file of the project, whatever is in it
events           one line of dbt's JSON log -> frozen values (failures: which of them can pass)
stream           all lines of a command -> events, each node with one end, a microbatch model's batches kept apart
node             what ids and statuses mean, and how one node ended
keys             which columns tell the rows of a table apart
source_times     how new the rows of each source are, and which are newer than before
results          dbt's artifacts, and what its log adds or stands in for -> RunReport (artifact: one file)
"""
