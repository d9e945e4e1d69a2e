"""The DuckDB file and its generations; or what belongs to builds in a database server.

warehouse        the kinds, and what a run that writes or reads does first and last
published        what the kinds with generations have in common
remote           the kind whose data is in a database server
lake             the kind whose data is in a DuckLake
volume           the paths on the volume
health           the volume made ready when a run starts, checked, repaired
damage           what can be wrong with it, and what helps; damaged_generations, the same for what is published
lock             one writer, by the kernel
run_lock         one process for one flow run, likewise
built            what a run builds on, as the run sees it
working_copy     the DuckDB file that it is
publish          from the working copy to the next generation or a preview, and the link that readers follow
making           that way itself
publish_preview  a preview to the next generation; previews removed
certificate      what publishing asks for
builds           what generations and previews have in common
generations      what is published, and which one readers see
previews         what was kept aside
comparison       what differs between two of them, down to the rows
archive          the form of an export, written and read as a stream
export, intake   a generation on its way out, and in
housekeeping     old runs and generations, and what crashes left
facts            generation.json and owner.json, in whatever state they are
database         one DuckDB file, read and checked (comparison is the other user of duckdb)
durable          file operations that outlive a power cut
"""
