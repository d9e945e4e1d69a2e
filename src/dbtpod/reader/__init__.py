"""The reader: what is published, over HTTP. It only reads the volume, and writes to its own cache folder alone.

serve       the process: `dbtpod reader`
app         the application: every address, below one path
settings    `Reader`: what a user sets, and the warehouse that is read
files       the data of a generation, and how `current` is given
tables      one table as Parquet or CSV (copying: the process that reads it with DuckDB)
held        files that stay open while somebody reads them
sending     an open file as an answer, whole or in ranges (ranges: which bytes are asked for)
limits      how many are served at a time
connections clients that send or read nothing
pages       what a person sees, rendered on the server
access      who may ask: HTTP Basic
answers     errors as short text or a small page, and the headers that every answer has
"""
