"""What a build on a laptop costs: `dbtpod run build` of the demo, beside a bare `dbt build` and the usual flow."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import measure
from bench.measure import Cost, ratio, spread
from dbtpod.dbt import effective_profile, process

ROUNDS = 5
REPOSITORY = Path(__file__).parents[1]
HEADER = "| | user CPU, ratio to bare | user CPU, s | wall, s |\n|---|---|---|---|"


def table(rounds: int = ROUNDS) -> Iterator[str]:
    """Measure them in turns, each with all that it keeps between its runs; yield the lines of a markdown table."""
    effective_profile.write(REPOSITORY / "dbt_project")
    with tempfile.TemporaryDirectory() as folder:
        measured = {name: _Build(Path(folder) / name, *how) for name, how in _BUILDS.items()}
        for build in measured.values():
            build.run()
        costs: dict[str, list[Cost]] = {name: [] for name in measured}
        for _ in range(rounds):
            for name, build in measured.items():
                costs[name].append(build.run())
    bare = [cost.user for cost in costs["a bare dbt build"]]
    yield HEADER
    for name, found in costs.items():
        users = [cost.user for cost in found]
        yield f"| {name} | {ratio(users, bare)} | {spread(users)} | {spread([cost.wall for cost in found])} |"


class _Build:
    """One way to build the demo project, with a volume of its own."""

    def __init__(self, volume: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
        (volume / "work").mkdir(parents=True)
        self._log, self._command = volume / "log", command
        project = str(REPOSITORY / "dbt_project")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "DBT"))}
        self._environment = inherited | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DUCKDB_PATH": str(volume / "work" / "warehouse.duckdb"),
            "DBT_PROJECT_DIR": project,
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "PREFECT_HOME": str(volume / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            **{name: text.format(volume=volume, project=project) for name, text in environment.items()},
        }

    def run(self) -> Cost:
        """Build once."""
        return measure.command(self._command, self._environment, self._log)


_OWN_TARGET = {
    "DBT_PROFILES_DIR": "{project}/.dbtpod/writer",
    "DBT_TARGET_PATH": "{volume}/target",
    "DBT_LOG_PATH": "{volume}/target",
}
_BUILDS: Mapping[str, tuple[Sequence[str], Mapping[str, str]]] = {
    "a bare dbt build": ([process.executable(), "build"], _OWN_TARGET),
    "dbtpod run": ([str(Path(sys.executable).with_name("dbtpod")), "run", "build"], {}),
    "the usual flow, with Prefect's own temporary server": (
        [sys.executable, "-c", "from bench.article import article; article.build()"],
        # By default it gives up after 20 s, which its first start may take.
        _OWN_TARGET | {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"},
    ),
}
