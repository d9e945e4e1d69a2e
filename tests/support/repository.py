"""A user's repository on this machine: a small dbt project at its root, with a prefect.yaml where one is wanted."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gated_project as small
from dbtpod.warehouse.volume import Volume

DBTPOD = str(Path(sys.executable).with_name("dbtpod"))
# The models that a test may want beside `plain`.
GATE, ENDLESS = "models/gate.py", "models/endless.sql"
_FILES = {
    "dbt_project.yml": "name: shop\nprofile: shop\n",
    "profiles.yml": small.FILES["profiles.yml"].replace("small:", "shop:"),
    "models/plain.sql": "select 1 as id",
    "models/plain_too.sql": "select id + 1 as id from {{ ref('plain') }}",
}


class Repository:
    """The folder, and how a user of it works."""

    def __init__(self, folder: Path, *models: str, **files: str) -> None:
        self.folder = folder
        self.gate = folder.parent / "gate"
        given = {name: small.FILES[name] for name in models}
        for name, text in (_FILES | given | files).items():
            self.write(name, text)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "DBT"))
        }
        self.environment["GATE"] = str(self.gate)

    @property
    def volume(self) -> Volume:
        """Where a run keeps its data unless another place is given."""
        return Volume(self.folder / ".dbtpod" / "data" / "work" / "warehouse.duckdb")

    def write(self, name: str, text: str) -> None:
        """Write one of its files."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `dbtpod *words` there, to its end."""
        given = {"capture_output": True, "text": True, "check": False, "timeout": 900}
        return subprocess.run([DBTPOD, *words], cwd=self.folder, env=self.environment | environment, **given)  # type: ignore

    @contextmanager
    def running(self, *words: str, log: Path | None = None, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """Have `dbtpod *words` run in the block; what is left of it at its end is killed."""
        with (log or self.folder.parent / "dbtpod.log").open("a") as output:
            process = subprocess.Popen(
                [DBTPOD, *words], cwd=self.folder, env=self.environment | environment, stdout=output, stderr=output
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(30)
