"""`dbtpod move` as a ready flow: in a cluster, a run has the volume, the credentials and the way to the server."""

from prefect import flow, get_run_logger

from dbtpod.moving import move as moving


@flow(name="dbtpod-move")
def move(generation: int | None = None) -> None:
    """Copy a generation's tables to the database server that the profile's target names; see docs/growth.md.

    Without a generation, the newest that has a DuckDB file.
    """
    log = get_run_logger()
    lines, _ = moving.move(generation, log.info)
    for line in lines:
        log.info("%s", line)
