"""The DuckDB file and its generations.

lock             one writer, by the kernel
run_lock         one process for one flow run, likewise
checkout         the working copy
publish          the generations, and the link that readers follow
housekeeping     what nobody needs any more
database         the one user of duckdb
durable          file operations that outlive a power cut
"""
