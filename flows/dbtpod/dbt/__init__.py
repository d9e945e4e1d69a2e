"""Running dbt, and reading what it says.

arguments        dbt's command line: its options, and the same command for other nodes
profile          the file that a command will write to
record           our own record of a command's attempts
process          the one seam to dbt: start, lines, stop (leash: it never outlives us; warm: imported beforehand)
parse_state      what dbt parsed, baked into the image (precompiled: what it compiled)
shortcuts        what a warm dbt leaves out, as nobody reads it, or does quicker
events           one line of dbt's JSON log -> frozen values (failures: which of them can pass)
results          run_results.json and sources.json -> RunReport
"""
