"""The DuckDB file and its generations.

volume           the whole of it: made ready when a run starts, checked, repaired
damage           what can be wrong with it, and what helps; damaged_generations, the same for what is published
lock             one writer, by the kernel
run_lock         one process for one flow run, likewise
checkout         the working copy
publish          from the working copy to the next generation, and the link that readers follow
certificate      what publishing asks for
published        the generations, and which one readers see
housekeeping     old runs and generations, and what crashes left
facts            generation.json and owner.json, in whatever state they are
database         the one user of duckdb
durable          file operations that outlive a power cut
"""
