"""The pages' commands that need no cluster, in a fresh copy of the repository; Python and SQL on what they build."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import httpx
import pytest

import pages
from pages import ROOT, Block
from prefect_server import free_port
from waiting import until

# Together, as they share the copy.
pytestmark = [pytest.mark.xdist_group("docs"), pytest.mark.timeout(1200)]

# Calls each flow that a block has, where it has some.
CALL = """
import runpy, sys
from prefect import Flow

for each in list(runpy.run_path(sys.argv[1]).values()):
    if isinstance(each, Flow):
        each()
"""


@dataclass(frozen=True)
class Laptop:
    """A copy of the repository, in which every shell block was typed; what they printed, by their text."""

    folder: Path
    environment: dict[str, str]
    printed: dict[str, str]

    def sh(self, script: str, **environment: str) -> str:
        """Run a script in the copy; what it printed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout

    @property
    def next_steps(self) -> str:
        """What `make run` said at its end."""
        return self.printed["make run\n"].split("Next:")[1]

    def here(self, text: str) -> str:
        """The text with this copy's volume in place of the pod's."""
        return text.replace("/data/", f"{self.folder}/data/")


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    folder = tmp_path_factory.mktemp("clone") / "dbtpod"
    for each in pages.tracked():
        (folder / each).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / each, folder / each)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "DBT", "DUCKDB"))}
    kept.pop("VIRTUAL_ENV", None)
    # Where make has got uv for this repository, it is not downloaded again.
    laptop = Laptop(folder, kept | {"PATH": f"{ROOT / '.uv/bin'}:{kept['PATH']}"}, {})
    for block in pages.executed("shell"):
        laptop.printed[block.text] = laptop.sh(block.text)
    return laptop


def test_make_run_publishes_the_warehouse_that_the_readme_names(laptop: Laptop) -> None:
    [path] = re.findall(r"demo project into `(\S+)`", (ROOT / "README.md").read_text())

    with duckdb.connect(laptop.folder / path, read_only=True) as warehouse:
        assert warehouse.sql("select count(*) from fct_orders").fetchall() == [(2400,)]


def test_the_list_that_make_run_names_has_the_generation(laptop: Laptop) -> None:
    [command] = re.findall(r"DUCKDB_PATH=.*list$", laptop.next_steps, re.MULTILINE)

    assert "* 1 " in laptop.sh(command)


@pytest.fixture(scope="module")
def ui(laptop: Laptop) -> Iterator[str]:
    """The address of Prefect's API, started as `make run` says."""
    [command] = re.findall(r"DBTPOD_VOLUME=.* serve$", laptop.next_steps, re.MULTILINE)
    port = free_port()
    argv = ["sh", "-c", command.replace(".venv", "exec .venv") + f" --port {port}"]
    with subprocess.Popen(argv, cwd=laptop.folder, env=laptop.environment) as process:
        try:
            yield f"http://127.0.0.1:{port}/api"
        finally:
            process.terminate()


def test_the_prefect_ui_that_make_run_names_has_the_run(ui: str) -> None:
    def states() -> list[str]:
        try:
            return [run["state"]["name"] for run in httpx.post(f"{ui}/flow_runs/filter", json={}, timeout=30).json()]
        except httpx.HTTPError:
            return []

    assert "Completed" in until(states, 240, "an answer of Prefect's API")


@pytest.mark.soak
@pytest.mark.parametrize("block", pages.executed("python"), ids=str)
def test_a_python_block_runs(laptop: Laptop, ui: str, block: Block, tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(laptop.here(block.text))
    (tmp_path / "call.py").write_text(CALL)
    shell = {"PREFECT_API_URL": ui, "DUCKDB_PATH": f"{laptop.folder}/data/work/warehouse.duckdb"}

    laptop.sh(f".venv/bin/python {tmp_path}/call.py {tmp_path}/block.py", **shell)


@pytest.mark.parametrize("block", pages.executed("sql"), ids=str)
def test_a_sql_block_finds_rows(laptop: Laptop, block: Block) -> None:
    with duckdb.connect() as connection:
        assert connection.execute(laptop.here(block.text)).fetchall()
