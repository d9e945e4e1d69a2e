"""A run without Prefect: a flow's dbt commands on a volume, disturbed on purpose, resumed, certified and published."""

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

import shop
import warehouse
from dbtpod import attempts, complete, resume
from dbtpod.attempts import Attempts
from dbtpod.dbt import effective_profile, process
from dbtpod.dbt.events import Event, NodeFinished, NodeStarted
from dbtpod.dbt.project import Project
from dbtpod.dbt.results import RunReport
from dbtpod.errors import DbtPodError
from dbtpod.faststart import boot, preloaded
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.volume import Volume
from dbtpod.warehouse.working_copy import WorkingCopy

LOG = logging.getLogger("attempting")
# More than a second: a node with it does not end between its start and the stop.
LONG = "(select sum(range) from range(500_000_000)) > 0"


class Stopped(BaseException):
    """What stops a flow: here, in place of Prefect's own."""


class Watcher:
    """Sees each event; `act` may stop the run at it."""

    def __init__(self, act: Callable[[Event], None] = lambda _: None) -> None:
        self._act = act

    @contextmanager
    def command(self, target_dir: Path, name: str) -> Iterator["Watcher"]:
        yield self

    def observe(self, event: Event) -> None:
        self._act(event)

    def reconcile(self, report: RunReport) -> None:
        """Show nothing."""


def stop_at(node: str, kind: type[NodeStarted] | type[NodeFinished] = NodeStarted) -> Watcher:
    """Stop the run where dbt says that of this node."""

    def act(event: Event) -> None:
        if isinstance(event, NodeStarted | NodeFinished) and isinstance(event, kind) and event.name == node:
            raise Stopped

    return Watcher(act)


def project(folder: Path, files: dict[str, str]) -> Project:
    """Write a project of these files, and make an empty volume."""
    shop.write(folder / "project", files)
    (folder / "volume").mkdir(exist_ok=True)
    effective_profile.write(folder / "project", {})
    return warehouse.project(folder / "volume", folder / "project")


_preloaded: list[preloaded.Preloaded] = []


def preload() -> None:
    """Have a dbt that is imported already for the next command: half of a test's time otherwise."""
    if not _preloaded or _preloaded[-1]._is_closed:
        # No supervisor says how it died.
        preloaded.DEATH_SECONDS = 0.1
        flow_end, pid = boot._start_dbt()
        status, _ = os.pipe()
        _preloaded[:] = [preloaded.Preloaded(flow_end, os.pidfd_open(pid), status)]
    process.launch_by(_preloaded[-1].launch)


class Pod:
    """One pod of a run: it begins, or resumes, where the volume says."""

    def __init__(self, project: Project, run_id: str = "run", continues: str | None = None) -> None:
        preload()
        self.project = project
        self.run_id = run_id
        self.kept = warehouse.new(Volume(project.writes).root)
        self.copy = WorkingCopy(self.kept.publisher, run_id, LOG)
        self.run_dir = resume.begin(self.copy, project, run_id, LOG, continues)
        self.done: list[complete.Command] = []
        self.reports: list[RunReport] = []
        self.last = self.run_dir

    def command(self, *args: str, watcher: Watcher | None = None, retries: int = 0) -> None:
        """Do what `command.Dbt` does, with its retries at once."""
        number = len(self.done) + 1
        folder = self.run_dir / f"{number}-{args[0]}"
        command = Attempts(self.project, folder, args, self.copy, LOG)
        command.check_connection()
        self.reports += command.reports
        while not command.has_ended_well:
            try:
                command.run(watcher or Watcher(), LOG)
            except DbtPodError as error:
                if not (error.retry and retries):
                    raise
                retries -= 1
            finally:
                self.last = command.target_dir
                self.reports += [command.latest] if command.latest else []
        self.done.append(command.finish())

    def publish(self) -> Generation | None:
        """Publish what is complete; None where nothing was built."""
        report = attempts.merged([report for report in self.reports if report])
        certificate = complete.certify(self.run_id, self.copy, self.done, [], report)
        with warehouse.alone(self.kept):
            return self.copy.publish(certificate, []) if certificate else None


def run(project: Project, args: Sequence[str], watcher: Watcher | None = None, retries: int = 0) -> None:
    """Run one command and publish it."""
    pod = Pod(project)
    pod.command(*args, watcher=watcher, retries=retries)
    pod.publish()


def kill_dbt() -> None:
    """Kill every dbt that this process started, as the kernel does."""
    for child in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for pid in child.read_text().split():
            if b"dbt" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)


def relations(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every table and view with its rows."""
    with duckdb.connect(path, read_only=True) as connection:
        names = connection.sql(
            "select table_name from information_schema.tables where table_catalog = current_database()"
        ).fetchall()
        return {name: sorted(connection.sql(f'select * from "{name}"').fetchall()) for (name,) in names}
