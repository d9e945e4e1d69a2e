"""The pages' commands for a cluster, typed as they are written: the README's install, its shell, and the chart's notes.

Two words differ: the cluster's name, and the port of this machine that is forwarded. The README's first command has
made the cluster of this suite already.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version

import pytest

import pages
from kube import REPO, Cluster
from prefect_server import free_port
from release import BUILD, OURS, Release
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

CREATE = "kind create cluster"
# They run until they are stopped.
ENDLESS = re.compile(r" port-forward | get pods .* --watch$")
ID = re.compile(r"<id[^>]*>")


class Reader(Release):
    """A person who has read the README: its release is theirs, in the namespace that it names."""

    def typed(self, script: str, seconds: float = 400) -> str:
        """Run a script in the repository and return what it printed; what it left in the background is ended."""
        port = free_port()
        script = script.replace("--name dbtpod", f"--name {self.cluster.name}")
        script = script.replace("-server 4200", f"-server {port}:4200").replace("localhost:4200", f"localhost:{port}")
        folder = self.cluster.kubeconfig.parent
        shell = os.environ | {"KUBECONFIG": str(self.cluster.kubeconfig), "PREFECT_HOME": str(folder / "prefect")}
        argv = ["bash", "-euo", "pipefail", "-c", script]
        # Not a pipe, which a port-forward in the background would keep open.
        with (folder / "typed.txt").open("w+") as file:
            process = subprocess.Popen(
                argv, cwd=REPO, env=shell, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
            try:
                code: int | None = process.wait(seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
            file.seek(0)
            printed = file.read()
        assert code == 0, f"$ {script}\n{printed}\nexit code {code}"
        return printed

    def completed_run(self) -> str:
        """The id of the run that completed last."""
        completed = {"state": {"type": {"any_": ["COMPLETED"]}}}
        return str(self.prefect.all("flow_runs", sort="END_TIME_DESC", flow_runs=completed)[0]["id"])


@pytest.fixture(scope="module")
def notes() -> list[str]:
    """What `helm install` printed."""
    return []


@pytest.fixture(scope="module")
def reader(cluster: Cluster, notes: list[str]) -> Iterator[Reader]:
    """The README's block "On a cluster", typed; the namespace of an earlier test may not be gone yet."""
    one = Reader(cluster, "dbtpod")
    until(lambda: "namespace/dbtpod" not in cluster.kubectl("get", "namespaces", "-o=name").split(), 180, "its end")
    [install] = [block for block in pages.executed("cluster") if CREATE in block.text]
    lines = [line for line in install.text.splitlines() if not line.startswith(CREATE)]
    notes.append(one.typed("\n".join(lines), 550).split("NOTES:")[1])
    yield one
    one.disconnect()
    cluster.kubectl("delete", "namespace", "dbtpod", seconds=300)


def test_the_readmes_install_registers_the_deployments(reader: Reader) -> None:
    assert len(reader.prefect.deployments()) == 6


@pytest.mark.parametrize("block", [block for block in pages.executed("cluster") if CREATE not in block.text], ids=str)
def test_a_block_does_what_it_says(reader: Reader, block: pages.Block) -> None:
    assert reader.typed(block.text)


def test_the_readmes_log_command_shows_dbts_lines(reader: Reader) -> None:
    [command] = [
        each for each in pages.spans((REPO / "README.md").read_text()) if each.startswith("kubectl -n dbtpod logs")
    ]

    assert "Done. PASS=" in reader.typed(ID.sub(reader.completed_run(), command))


def test_the_notes_commands_all_answer(reader: Reader, notes: list[str]) -> None:
    commands = pages.commands(notes[0])
    assert len(commands) > 8
    filled = {"<its name>": BUILD, "<its tag>": version("dbtpod"), " CHART ": " charts/dbtpod "}

    for command in commands:
        for blank, text in filled.items():
            command = command.replace(blank, text)
        if ENDLESS.search(command):
            # 124 is timeout's word for what it had to stop.
            typed = f"code=0; timeout 10 {command} || code=$?; test $code = 124"
        else:
            typed = ID.sub(reader.completed_run(), command) if ID.search(command) else command
        printed = reader.typed(typed)
        assert printed and "No resources found" not in printed, command


def test_uninstall_keeps_what_the_notes_say(reader: Reader, notes: list[str]) -> None:
    _, _, left = notes[0].partition("`helm uninstall` removes all Jobs and pods, and leaves")
    kept = re.findall(r" {2,}((?:pvc|secret)/\S+)$", left, re.MULTILINE)
    assert len(kept) == 3

    reader.uninstall()

    until(lambda: not reader.cluster.objects("pods", reader.namespace, f"{OURS}server"), 60, "the server pod's end")
    for each in kept:
        assert reader.kubectl("get", each)
