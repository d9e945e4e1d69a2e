"""A real `dbtpod reader` on a volume of a test's own, and a DuckDB with httpfs to read it with."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import httpx

import warehouse
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.remote import Remote
from dbtpod.warehouse.warehouse import DuckDBFile
from prefect_server import free_port
from rendering import ROOT
from waiting import end, until

_HTTPFS = ("duckdb==1.5.5", "duckdb-extension-httpfs==1.5.5")
DBT_PROJECT = 'name: shop\nversion: "1"\nprofile: shop\n'


class Reading:
    """Where the reader answers, and its process."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/reader"
        self.process = process
        self.log = log

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=60)

    def head(self, path: str, **headers: str) -> httpx.Response:
        return httpx.head(f"{self.url}{path}", headers=headers, timeout=60)

    def open_files(self) -> list[str]:
        """What its process has open."""
        found = []
        for one in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(str(one.readlink()))
        return found

    def memory_mb(self) -> float:
        """The resident memory of its process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [kilobytes] = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
        return int(kilobytes) / 1000


def volume(folder: Path, keep: int = 3) -> DuckDBFile:
    """Make an empty volume there."""
    (folder / "volume").mkdir()
    return warehouse.new(folder / "volume", keep)


def build_large(kept: DuckDBFile, rows: int, megabytes: int) -> Generation:
    """Build tables of so many rows, and one of so many bytes that do not compress: `noise`."""
    warehouse.check_out(kept)
    warehouse.write(kept, rows)
    with duckdb.connect(kept.volume.database) as connection:
        noise = f"SELECT hash(range) AS value FROM range({megabytes * 10**6 // 8})"
        connection.execute(f"CREATE OR REPLACE TABLE noise AS {noise}")
    return warehouse.publish_as(kept)


@contextmanager
def reading(kept: DuckDBFile | Remote, folder: Path, **settings: str) -> Iterator[Reading]:
    """Run it until the block ends; its log and its temporary folder are in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)
    (folder / "dbt_project.yml").write_text(DBT_PROJECT)
    port, log = free_port(), folder / "reader.log"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DBTPOD_"))},
        "DUCKDB_PATH": str(kept.volume.database),
        "DBT_PROJECT_DIR": str(folder),
        "TMPDIR": str(folder / "tmp"),
        **settings,
    }
    command = [sys.executable, "-m", "dbtpod.cli", "reader", "--port", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    reader = Reading(port, process, log)
    try:

        def healthy() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"http://127.0.0.1:{port}/health", timeout=10).text == "ok\n"
            except httpx.HTTPError:
                return False

        until(healthy, 60, "a reader that answers")
        yield reader
    finally:
        end(process, 20)


def install_httpfs(folder: Path) -> Path:
    """Make an environment there with a DuckDB that has httpfs, and return its Python.

    One of its own: there are wheels of extensions up to DuckDB 1.5.5, and ours is a newer one.
    """
    return install(folder, *_HTTPFS)


def install(folder: Path, *packages: str) -> Path:
    """Make an environment there with these packages, and return its Python."""
    python = folder / "bin" / "python"
    _uv("venv", "--quiet", "--no-project", "--python", sys.executable, str(folder))
    _uv("pip", "install", "--quiet", "--python", str(python), *packages)
    return python


def packages_of_httpfs(folder: Path, python: str = "3.13") -> None:
    """Put the same packages there, for the Python of our image."""
    for_it = ("--python-version", python, "--only-binary", ":all:")
    _uv("pip", "install", "--quiet", "--target", str(folder), *for_it, *_HTTPFS)


def _uv(*arguments: str) -> None:
    subprocess.run([shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv"), *arguments], check=True)


# What a script of a test begins with: `connect()` gives a DuckDB with httpfs.
CONNECT = """
import json, sys
from importlib.resources import files

import duckdb

def connect(**config):
    [extension] = files("duckdb_extension_httpfs").glob("extensions/*/httpfs.duckdb_extension")
    connection = duckdb.connect(config={"allow_unsigned_extensions": True, **config})
    connection.execute(f"LOAD '{extension}'")
    connection.execute("SET enable_progress_bar = false")
    return connection

url = sys.argv[1]
"""
