"""Published generations in S3, and the way back.

place    where backups go, from the environment
store    the objects there: the only module that imports obstore, and turns its errors into ours
record   what is known of a backup, as backup.json has it
take     generations to S3, and what is too old removed
bring    a backup back on a disk, whole or not at all
main     what `dbtpod backup` and `dbtpod restore` do
"""
