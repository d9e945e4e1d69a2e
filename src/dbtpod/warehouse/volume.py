"""The volume's paths, all derived from DUCKDB_PATH; and what stands against using it.

volume/                          e.g. /data, the claim
├── work/warehouse.duckdb        DUCKDB_PATH: what a writing run builds on
├── work/owner.json              the flow run whose working copy it is, and the generation it began from
├── writer.lock                  held by the one writing run
├── writer-<n>.lock              held by one of the runs that write to a database server, see `remote`
├── published/<n>/               a generation: warehouse.duckdb and dbt's artifacts of its build
├── published/current            link to the generation that readers see
├── previews/<n>/                likewise, of a build that was kept aside: no link leads there
├── runs/<flow run id>/          dbt's artifacts of each attempt
├── history/history.duckdb       what became of runs, nodes, tests and tables over time
├── failed/<flow run id>/        the working copy of a run that failed, and owner.json, while others build
└── set-aside/                   what was damaged or in the way; never removed by us
"""

import logging
import os
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from dbtpod.errors import SettingsError
from dbtpod.warehouse import durable

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


@dataclass(frozen=True)
class Volume:
    """Everything that lasts.

    >>> Volume(Path("/data/work/warehouse.duckdb")).current
    PosixPath('/data/published/current')
    """

    # The writer's file. Its stem is the catalog's name that DuckDB views carry, and its path is part of dbt's parse
    # cache: neither may change between runs.
    database: Path
    # Whether the data is in a database server: then there is no such file, and a build is known by dbt's manifest.
    is_remote: bool = False

    @property
    def root(self) -> Path:
        """The folder that the volume is mounted on."""
        return self.database.parent.parent

    @property
    def work(self) -> Path:
        """The folder of the file that runs build on."""
        return self.database.parent

    @property
    def owner(self) -> Path:
        """Says which flow run the working copy belongs to; a DuckDB file without it was brought or built in place."""
        return self.work / "owner.json"

    @property
    def lock(self) -> Path:
        """The file whose kernel lock makes its holder the one writer."""
        return self.root / "writer.lock"

    def writers(self, count: int) -> list[Path]:
        """Return the files of which each run that writes to a database server holds one."""
        return [self.root / f"writer-{number}.lock" for number in range(1, count + 1)]

    @property
    def published(self) -> Path:
        """The folder of the generations."""
        return self.root / "published"

    @property
    def current(self) -> Path:
        """The link to the generation that readers see."""
        return self.published / "current"

    @property
    def previews(self) -> Path:
        """The folder of the builds that were kept aside."""
        return self.root / "previews"

    @property
    def runs(self) -> Path:
        """One folder for each flow run, with dbt's artifacts of each attempt."""
        return self.root / "runs"

    @property
    def history(self) -> Path:
        """The folder of the file that has what became of runs, nodes, tests and tables."""
        return self.root / "history"

    @property
    def failed(self) -> Path:
        """The working copies of runs that failed and may be continued, while another run uses `work`."""
        return self.root / "failed"

    @property
    def aside(self) -> Path:
        """What was damaged or in the way of a run, and is not removed."""
        return self.root / "set-aside"

    def errors(self, purpose: str, needed: int = 0) -> AbstractContextManager[None]:
        """Turn what the system says against the block into our errors; `needed` is the bytes that it writes."""
        return durable.volume_errors(self.root, needed, purpose)

    def check(self, *, writes: bool) -> None:
        """SettingsError where the volume is not mounted, or may not be read, or not written by a run that `writes`."""
        # Path.is_dir and Path.exists raise where they may not look.
        if not durable.is_folder(self.root):
            found = os.path.exists(self.root)  # noqa: PTH110
            what = "is a file: mount it there." if found else "does not exist: create or mount it."
            raise SettingsError(f"DUCKDB_PATH needs the volume {self.root}, but the folder {self.root} {what}")
        problem = durable.access_problem(self.root, os.R_OK | os.X_OK)
        if problem := problem or (writes and durable.access_problem(self.root, os.W_OK)) or "":
            raise SettingsError(problem)

    def reader_runs(self) -> Path:
        """Return where a reading run leaves dbt's artifacts: in `runs`, or for a while where it may not write."""
        folder = self.runs if self.runs.exists() else self.root
        may_write = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
        return self.runs if may_write else Path(tempfile.mkdtemp(prefix="dbtpod-runs-"))

    def set_aside(self, path: Path) -> Path:
        """Move what is damaged or in the way out of it, to where a person finds it; return its new name."""
        self.aside.mkdir(exist_ok=True)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{'-'.join(path.relative_to(self.root).parts)}"
        names = (f"{name}-{number}" if number > 1 else name for number in count(1))
        target = next(self.aside / one for one in names if not os.path.lexists(self.aside / one))
        path.rename(target)
        durable.sync(path.parent)
        durable.sync(self.aside)
        return target
