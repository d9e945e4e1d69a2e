"""A disturbed run ends as an undisturbed one on the same inputs, or Failed and unpublished: random projects, real dbt.

Random: graphs of 3 to 6 nodes (SQL, incremental, appending and Python models, seeds; tests that warn or fail; models
that fail or that a variable or a target enables), a selection (none, --select with its neighbours, --exclude, a
selector, a tag with cautious tests), flags, and up to two disturbances (dbt and its pod killed at a node, a pod stopped
at a node, dbt alone killed as for memory, a lost connection in a node, a hook whose database is locked once).

4 examples by default, always the same; `make soak` has a hundred. An example is four runs of dbt.
"""

import fcntl
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import attempting
import shop
from attempting import Pod, Stopped, Watcher
from dbtpod.dbt.events import Event, NodeFinished, NodeStarted
from dbtpod.dbt.project import Project
from dbtpod.dbt.record import is_hook
from dbtpod.errors import DbtPodError
from dbtpod.warehouse.volume import Volume

OUTCOMES: Counter[tuple[str, str]] = Counter()
EXAMPLES = int(os.environ.get("DBTPOD_PROPERTY_EXAMPLES", "3"))


@dataclass(frozen=True)
class Node:
    kind: str  # sql, incremental, appending, python, seed
    parents: tuple[int, ...]
    fails: bool
    enabled: str  # always, var, prod
    test: str  # none, pass, warn, fail
    is_tagged: bool


@dataclass(frozen=True)
class Disturbance:
    kind: str  # kill, stop, memory, lost, hook
    node: int


@dataclass(frozen=True)
class Example:
    nodes: tuple[Node, ...]
    selection: tuple[str, ...]
    flags: tuple[str, ...]
    disturbances: tuple[Disturbance, ...]


@st.composite
def examples(draw: Callable[[Any], Any]) -> Example:
    nodes: list[Node] = []
    for index in range(draw(st.integers(3, 6))):
        before = [i for i, node in enumerate(nodes) if node.enabled == "always"]
        kind = draw(st.sampled_from(["sql", "sql", "incremental", "appending", "python", "seed"]))
        parents = draw(st.sets(st.sampled_from(before), max_size=2)) if before and kind != "seed" else ()
        nodes.append(
            Node(
                kind=kind,
                parents=tuple(sorted(parents)),
                fails=kind != "seed" and draw(st.integers(0, 19)) == 19,
                enabled=draw(st.sampled_from(["always", "always", "always", "var", "prod"])) if index else "always",
                test=draw(st.sampled_from(["none"] * 5 + ["pass"] * 5 + ["warn", "fail"])),
                is_tagged=draw(st.booleans()),
            )
        )
    one = draw(st.integers(0, len(nodes) - 1))
    selection = draw(
        st.sampled_from(
            [
                (),
                (),
                ("--select", f"n{one}+"),
                ("-s", f"+n{one}", "n0"),
                ("--exclude", f"n{one}"),
                ("--selector", "picked"),
                ("--select", "tag:chosen", "--indirect-selection", "cautious"),
            ]
        )
    )
    flags = draw(
        st.sets(
            st.sampled_from(["--vars={late: true}", "--target=prod", "--warn-error", "--full-refresh", "--fail-fast"]),
            max_size=3,
        )
    )
    kinds = st.sampled_from(["kill", "stop", "memory", "lost", "hook"])
    places = st.integers(0, len(nodes) - 1)
    disturbances = draw(st.lists(st.builds(Disturbance, kinds, places), min_size=1, max_size=2))
    return Example(tuple(nodes), selection, tuple(sorted(flags)), tuple(disturbances))


ENABLED = {"always": "true", "var": "var('late', false)", "prod": "(target.name == 'prod')"}
HOOKS = """
on-run-end:
  - "attach if not exists '{hook}' as hook"
  - "create or replace table hook.main.said as select 1 as n"
  - "detach hook"
"""
SELECTORS = """
selectors:
  - name: picked
    definition: {union: [{method: tag, value: chosen, children: true}, {method: fqn, value: n1}]}
"""


def write(folder: Path, example: Example) -> Project:
    """Write the project; a Python model loses its connection while there is a file of its name in `lose`."""
    files = {"selectors.yml": SELECTORS}
    (folder / "lose").mkdir()
    for index, node in enumerate(example.nodes):
        name = f"n{index}"
        config = f"tags={['chosen'] if node.is_tagged else []}, enabled={ENABLED[node.enabled]}"
        counts = "".join(f", (select count(*) from {{{{ ref('n{parent}') }}}}) as p{parent}" for parent in node.parents)
        wrong = ", no_such_column" if node.fails else ""
        if node.kind == "seed":
            files[f"seeds/{name}.csv"] = f"id\n{index}\n"
            # dbt reads a seed's configuration from YAML only.
            tags = "[chosen]" if node.is_tagged else "[]"
            enabled = ENABLED[node.enabled]
            files[f"seeds/{name}.yml"] = (
                f'seeds: [{{name: {name}, config: {{tags: {tags}, enabled: "{{{{ ({enabled}) | as_bool }}}}"}}}}]\n'
            )
        elif node.kind == "python":
            refs = "".join(f"    dbt.ref('n{parent}')\n" for parent in node.parents)
            tags = "[chosen]" if node.is_tagged else "[]"
            enabled = ENABLED[node.enabled]
            files[f"models/{name}.yml"] = (
                f'models: [{{name: {name}, config: {{tags: {tags}, enabled: "{{{{ ({enabled}) | as_bool }}}}"}}}}]\n'
            )
            files[f"models/{name}.py"] = (
                "import os\n\ndef model(dbt, session):\n"
                + refs
                + f"    flag = {str(folder / 'lose' / name)!r}\n"
                + "    if os.path.exists(flag):\n        os.remove(flag)\n"
                + "        raise ConnectionError('Connection refused')\n"
                + f"    return session.sql('select {index} as id{wrong}')\n"
            )
        else:
            materialized = "table" if node.kind == "sql" else "incremental"
            own = "{% if is_incremental() %} where id not in (select id from {{ this }}) {% endif %}"
            files[f"models/{name}.sql"] = (
                f"{{{{ config(materialized='{materialized}', {config}) }}}}\n"
                f"select * from (select {index} as id{counts}{wrong}) {own if node.kind == 'incremental' else ''}"
            )
        if node.test != "none":
            severity = "warn" if node.test == "warn" else "error"
            where = "id < 0" if node.test == "pass" else "true"
            files[f"tests/t{index}.sql"] = (
                f"{{{{ config(severity='{severity}', enabled={ENABLED[node.enabled]}) }}}}\n"
                f"select * from {{{{ ref('{name}') }}}} where {where}"
            )
    hook = folder / "hook.duckdb"
    duckdb.connect(hook).close()
    files["dbt_project.yml"] = shop.PROJECT + HOOKS.format(hook=hook)
    return attempting.project(folder, files)


class Disturber:
    """Does the disturbances, each once."""

    def __init__(self, folder: Path, wanted: tuple[Disturbance, ...]) -> None:
        self._at = {f"n{d.node}": d.kind for d in wanted if d.kind in ("kill", "stop", "memory")}
        for each in wanted:
            if each.kind == "lost":
                (folder / "lose" / f"n{each.node}").touch()
        self._lock = (folder / "hook.duckdb").open("r+b")
        if any(each.kind == "hook" for each in wanted):
            fcntl.lockf(self._lock, fcntl.LOCK_EX)

    def act(self, event_: Event) -> None:
        if isinstance(event_, NodeFinished) and is_hook(event_.node_id):
            fcntl.lockf(self._lock, fcntl.LOCK_UN)
        if isinstance(event_, NodeStarted) and (kind := self._at.pop(event_.node_id.split(".")[2], None)):
            if kind in ("kill", "memory"):
                attempting.kill_dbt()
            if kind in ("kill", "stop"):
                raise Stopped

    def close(self) -> None:
        self._lock.close()


def outcome(shop: Project, args: tuple[str, ...], watcher: Watcher) -> tuple[str, object]:
    """Run to the end in as many pods as it takes: the outcome, and what readers then see."""
    result = "Failed"
    for _ in range(5):
        try:
            pod = Pod(shop)
            pod.command(*args, watcher=watcher, retries=3)
            pod.publish()
            result = "Completed"
        except Stopped:
            continue
        except DbtPodError as error:
            result = "Failed"
            attempting.LOG.info("%s", error)
        break
    published = shop.reads
    return result, attempting.relations(published) if published.exists() else None


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
@given(examples())
def check(example: Example) -> None:
    args = ("build", *example.selection, *example.flags)
    with tempfile.TemporaryDirectory() as plain, tempfile.TemporaryDirectory() as disturbed:
        undisturbed = outcome(write(Path(plain), example), args, Watcher())
        shop = write(Path(disturbed), example)
        disturber = Disturber(Path(disturbed), example.disturbances)
        try:
            found = outcome(shop, args, Watcher(disturber.act))
        finally:
            disturber.close()
        OUTCOMES[undisturbed[0], found[0]] += 1
        assert found in (undisturbed, ("Failed", None)), (args, undisturbed, found)
        shutil.rmtree(Volume(shop.writes).root)


@pytest.mark.timeout(180 * EXAMPLES)
def test_a_disturbed_run_ends_as_an_undisturbed_one_or_failed_and_unpublished() -> None:
    check()

    # Or this says nothing: most examples must have something to publish, and publish it.
    assert OUTCOMES["Completed", "Completed"] >= EXAMPLES // 3, OUTCOMES
