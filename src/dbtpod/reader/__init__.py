"""The reader: what is published, over HTTP. It only reads the volume, and writes to its own cache folder alone.

serve       the process: `dbtpod reader`
app         the application: every address, below one path
settings    `Reader`: what a user sets, and the warehouse that is read
access      who may ask: HTTP Basic
answers     errors as short text or a small page, and the headers that every answer has
"""
