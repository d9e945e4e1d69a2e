"""`make run`: what it does with a run whose process was killed."""

import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import gated_project as small
from booted import Api
from dbtpod.warehouse.volume import Volume
from waiting import until

_FLOWS = """
import os
import time
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run


@flow
def dbt_build():
    Path(os.environ["GATE"] + ".run").write_text(flow_run.id)
    while not Path(os.environ["GATE"]).exists():
        time.sleep(0.05)
"""


def test_a_run_whose_process_was_killed_is_ended_by_the_next_one(prefect: Api, tmp_path: Path) -> None:
    project = small.create(tmp_path / "small")
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "flows.py").write_text(_FLOWS)
    gate = tmp_path / "gate"
    environment = prefect.environment | {
        "PREFECT_API_URL": prefect.url,
        "DUCKDB_PATH": str(project.writes),
        "DBT_PROJECT_DIR": str(project.folder),
        "GATE": str(gate),
    }
    command = [str(Path(sys.executable).with_name("dbtpod")), "run"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as first:
        until(gate.with_name("gate.run").exists, seconds=150)
        first.send_signal(signal.SIGKILL)
    killed = UUID(gate.with_name("gate.run").read_text())
    assert prefect.state(killed) == "Running"

    # One that lives is left alone.
    gate.with_name("gate.run").unlink()
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as second:
        until(gate.with_name("gate.run").exists, seconds=150)
        alive = UUID(gate.with_name("gate.run").read_text())
        with subprocess.Popen(command, cwd=tmp_path, env=environment) as third:
            until(lambda: gate.with_name("gate.run").read_text() not in ("", str(alive)), seconds=150)
            assert prefect.state(alive) == "Running"
            gate.touch()
            assert third.wait(150) == 0
        said = second.communicate(timeout=150)[0]

    run = prefect.client.read_flow_run(killed)
    assert run.state is not None
    assert run.state.is_crashed()
    assert "it was killed, or the machine stopped" in str(run.state.message)
    assert f"The flow run {run.name} is Crashed" in said
    assert prefect.state(alive) == "Completed"
    assert list(Volume(project.writes).runs.glob("*.lock")) == []
