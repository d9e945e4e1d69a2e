"""The DuckDB file and its generations.

lock             one writer, by the kernel
checkout         the working copy
certificate      what says that a working copy is a complete build
publish          the generations, and the link that readers follow
housekeeping     what nobody needs any more
database         the one user of duckdb
durable          file operations that outlive a power cut
"""
