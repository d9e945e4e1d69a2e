"""What can go wrong (all are DbtPodError), and whether the dbt command is then tried again.

├── SettingsError        a setting is missing or wrong                       retry: no
├── DbtFailed            dbt ran; a node failed or a source is stale         retry: no
├── BuildIncomplete      the run is not complete, whatever dbt says         retry: no
├── DbtUnusable          dbt did not start its work: project, profile, usage retry: no
├── DbtKilled            dbt was ended by a signal                           retry: yes
├── RunGivenUp           the run's pods died again and again                 retry: no
├── ConnectionLost       the database could not be reached or read           retry: yes
├── WarehouseBusy        another writer holds the DuckDB file: waited for    retry: no
├── WarehouseUnusable    the DuckDB file or its volume cannot be used        retry: no
├── VolumeFull           no space left for the copy, the build or publishing retry: no
├── ExportUnusable       an export is cut, damaged, of another kind          retry: no
├── BackupUnusable       the bucket or a backup in it cannot be used       retry: no
├── MoveRefused          tables cannot be moved to a database server         retry: no
└── DeploymentsInvalid   prefect.yaml or its work pool has errors            retry: no
"""


class DbtPodError(Exception):
    """Something a user can act on; its text says what, which value, and what to do.

    `retry` is whether the dbt command that raised it is tried again, as often as `run_dbt(retries=…)` says.
    """

    retry = False


class SettingsError(DbtPodError):
    """A setting is missing or wrong."""


class DbtFailed(DbtPodError):
    """dbt ran to its end and a node failed, or a source is stale (dbt's exit code 1)."""


class BuildIncomplete(DbtPodError):
    """A planned node or hook did not end well, a relation is missing, or the file is not the run's own."""


class DbtUnusable(DbtPodError):
    """dbt could not start its work: no profile, a parse error, an unknown selector or target (exit code 2)."""


class DbtKilled(DbtPodError):
    """dbt was ended by a signal that this process did not send, such as the kernel's for memory."""

    retry = True


class RunGivenUp(DbtPodError):
    """The run was started again after its pod died as often as it makes sense."""


class ConnectionLost(DbtPodError):
    """The database could not be reached or read, which may succeed at the next try."""

    retry = True


class WarehouseBusy(DbtPodError):
    """Another writer holds the DuckDB file, and did for as long as a run waits for it (ten minutes)."""


class WarehouseUnusable(DbtPodError):
    """The DuckDB file or its volume cannot be used: a newer format, not a database, no such folder, a network drive."""


class VolumeFull(DbtPodError):
    """The volume has no room for the working copy, the build or the published generation."""


class ExportUnusable(DbtPodError):
    """An export did not arrive whole, is damaged, or is not for this warehouse."""


class BackupUnusable(DbtPodError):
    """The bucket of the backups cannot be used, or a backup in it is not what was uploaded."""


class MoveRefused(DbtPodError):
    """The tables of a generation cannot be moved to a database server, or are not the same there."""


class DeploymentsInvalid(DbtPodError):
    """prefect.yaml has errors; the text lists all of them, with the key and the fix."""
