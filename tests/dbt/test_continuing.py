"""A run that failed continues with another project: what it built stays, or it restarts and says why; real dbt."""

import logging
from pathlib import Path

import pytest

import shop as files
from attempting import LONG, Pod, Stopped, project, relations, stop_at
from dbtpod.dbt import kept_state
from dbtpod.dbt.project import Project
from dbtpod.errors import DbtFailed, DbtUnusable
from dbtpod.warehouse.volume import Volume

BUILD = ("build",)
FILES = {
    "dbt_project.yml": f"{files.PROJECT}vars: {{rate: 1}}\n",
    "seeds/raw.csv": "id\n1\n2\n",
    "macros/doubled.sql": "{% macro doubled(x) %} {{ x }} * 2 {% endmacro %}",
    "macros/halved.sql": "{% macro halved(x) %} {{ x }} / 2 {% endmacro %}",
    "models/a_staged.sql": "select id, {{ doubled('id') }} as twice from {{ ref('raw') }}",
    "models/b_other.sql": "select {{ var('rate') }} as rate",
    "models/c_events.sql": "{{ config(materialized='incremental') }} select id from {{ ref('raw') }}",
    "models/d_fixed.sql": "select {{ halved('id') }} as half, broken from {{ ref('a_staged') }}",
    "models/e_last.sql": "select half from {{ ref('d_fixed') }}",
    "models/schema.yml": "models: [{name: a_staged, columns: [{name: id, data_tests: [not_null]}]}]\n",
}
FIXED = {"models/d_fixed.sql": "select {{ halved('id') }} as half from {{ ref('a_staged') }}"}


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    """A project of which one model fails, built once."""
    made = project(tmp_path, FILES)
    kept_state.prepare(made)
    with pytest.raises(DbtFailed, match="d_fixed"):
        Pod(made).command(*BUILD)
    return made


def change(shop: Project, changed: dict[str, str | None]) -> None:
    """Write these files of the project; None removes one."""
    for name, text in changed.items():
        if text is None:
            (shop.folder / name).unlink()
        else:
            (shop.folder / name).parent.mkdir(exist_ok=True)
            (shop.folder / name).write_text(text)


def proceed(shop: Project, run_id: str = "run", continues: str | None = None) -> set[str]:
    """Run the build again and publish it; the names of the nodes that ran."""
    pod = Pod(shop, run_id, continues)
    pod.command(*BUILD)
    newest = pod.reports[-1]
    pod.publish()
    return {node.node_id.split(".")[2] for node in newest.nodes}


def from_nothing(tmp_path: Path, changed: dict[str, str | None]) -> dict[str, list[tuple[object, ...]]]:
    """What the project publishes that never failed."""
    folder = tmp_path / "from-nothing"
    folder.mkdir()
    made = project(folder, {name: text for name, text in (FILES | changed).items() if text is not None})
    pod = Pod(made)
    pod.command(*BUILD)
    pod.publish()
    return relations(made.reads)


@pytest.mark.parametrize(
    ("changed", "ran"),
    [
        (FIXED, {"d_fixed", "e_last"}),
        # Used by what failed only.
        (FIXED | {"macros/halved.sql": "{% macro halved(x) %} {{ x }} / 2.0 {% endmacro %}"}, {"d_fixed", "e_last"}),
        (FIXED | {"models/f_new.sql": "select 1 as one"}, {"d_fixed", "e_last", "f_new"}),
        (FIXED | {"models/b_other.sql": "select 2 as rate"}, {"b_other", "d_fixed", "e_last"}),
        (
            FIXED | {"models/a_staged.sql": "select id + 1 as id from {{ ref('raw') }}"},
            {"a_staged", "not_null_a_staged_id", "d_fixed", "e_last"},
        ),
        ({"models/d_fixed.sql": None, "models/e_last.sql": "select 1 as half"}, {"e_last"}),
    ],
    ids=["the failed model", "its macro", "a new model", "another model", "one above it", "without it"],
)
def test_only_what_failed_was_skipped_or_has_changed_runs_and_the_data_is_that_of_a_build_from_nothing(
    shop: Project, tmp_path: Path, changed: dict[str, str | None], ran: set[str]
) -> None:
    change(shop, changed)

    assert proceed(shop) == ran
    assert relations(shop.reads) == from_nothing(tmp_path, changed)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"seeds/raw.csv": "id\n1\n3\n"}, "seed.shop.raw was loaded, and has changed"),
        (
            {"macros/doubled.sql": "{% macro doubled(x) %} {{ x }} * 3 {% endmacro %}"},
            "macro.shop.doubled has changed, and model.shop.a_staged was built with it",
        ),
        (
            {
                "models/c_events.sql": "{{ config(materialized='incremental') }} "
                "select id + 5 as id from {{ ref('raw') }}"
            },
            "model.shop.c_events was built and keeps rows of earlier builds, and it or what it is built on has changed",
        ),
        (
            {"models/b_other.sql": "{{ config(alias='renamed') }} select {{ var('rate') }} as rate"},
            "model.shop.b_other was built as warehouse.main.b_other, and is warehouse.main.renamed now",
        ),
        ({"models/b_other.sql": None}, "model.shop.b_other was built, and the project has it no more"),
        (
            {
                "macros/alias.sql": "{% macro generate_alias_name(custom_alias_name=none, node=none) %}"
                "{{ node.name }}{% endmacro %}"
            },
            "macro.shop.generate_alias_name has changed, and any node may have been built with it",
        ),
        (
            {"dbt_project.yml": f"{files.PROJECT}vars: {{rate: 2}}\n"},
            "dbt_project.yml, the packages or the profile are others than before",
        ),
    ],
    ids=["a seed", "a macro", "an incremental model", "an alias", "a model less", "how relations are named", "vars"],
)
def test_where_continuing_would_be_wrong_it_restarts_and_says_why(
    shop: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture, changed: dict[str, str | None], reason: str
) -> None:
    change(shop, FIXED | changed)

    with caplog.at_level(logging.INFO):
        ran = proceed(shop)

    assert "Start 2 of this run: restarting, because" in caplog.text
    assert reason in caplog.text
    assert "raw" in ran
    assert relations(shop.reads) == from_nothing(tmp_path, FIXED | changed)


@pytest.mark.parametrize(
    ("more", "ran"),
    [
        ({"models/b_other.sql": "select {{ env_var('RATE') }} as rate"}, {"b_other", "d_fixed", "e_last"}),
        (
            {
                "models/b_other.sql": "select 1 as rate",
                "models/b.yml": "models: [{name: b_other, config: {materialized: "
                "\"{{ env_var('RATE') == '2' and 'table' or 'view' }}\"}}]\n",
            },
            {"b_other", "d_fixed", "e_last"},
        ),
        # Of nothing that is built: the profile's may be a password.
        ({"models/f_note.yml": "# env_var('RATE')\n"}, {"d_fixed", "e_last"}),
        (
            {
                "macros/rate.sql": "{% macro rate() %}{{ env_var('RATE') }}{% endmacro %}",
                "models/b_other.sql": "select {{ rate() }} as rate",
            },
            None,
        ),
        ({"dbt_project.yml": f"{files.PROJECT}vars: {{rate: \"{{{{ env_var('RATE') }}}}\"}}\n"}, None),
    ],
    ids=["of a model", "of a config", "of none", "of a macro", "of dbt_project.yml"],
)
def test_what_was_built_with_another_value_of_an_environment_variable_is_built_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    more: dict[str, str],
    ran: set[str] | None,
) -> None:
    monkeypatch.setenv("RATE", "1")
    made = project(tmp_path, FILES | more)
    kept_state.prepare(made)
    with pytest.raises(DbtFailed, match="d_fixed"):
        Pod(made).command(*BUILD)
    monkeypatch.setenv("RATE", "2")
    change(made, FIXED)

    with caplog.at_level(logging.INFO):
        found = proceed(made)

    if ran is None:
        assert "raw" in found
        assert "restarting, because" in caplog.text
    else:
        assert found == ran
    assert relations(made.reads) == from_nothing(tmp_path, FIXED | more)


def test_without_a_change_it_continues_too(shop: Project, tmp_path: Path) -> None:
    with pytest.raises(DbtFailed, match="d_fixed"):
        proceed(shop)
    change(shop, FIXED)

    assert proceed(shop) == {"d_fixed", "e_last"}
    assert relations(shop.reads) == from_nothing(tmp_path, FIXED)


def test_fixed_in_three_steps_it_continues_after_each(shop: Project, tmp_path: Path) -> None:
    still_broken = {"models/d_fixed.sql": "select {{ halved('id') }} as half, lost from {{ ref('a_staged') }}"}
    change(shop, still_broken | {"models/b_other.sql": "select 2 as rate"})
    with pytest.raises(DbtFailed, match="d_fixed"):
        proceed(shop)
    changed = FIXED | {"models/b_other.sql": FILES["models/b_other.sql"]}
    change(shop, changed)

    assert proceed(shop) == {"b_other", "d_fixed", "e_last"}
    assert relations(shop.reads) == from_nothing(tmp_path, changed)


def test_a_mistake_that_dbt_cannot_read_keeps_what_was_built(shop: Project) -> None:
    change(shop, {"models/d_fixed.sql": "select {{ halved('id' }}"})
    with pytest.raises(DbtUnusable, match="What the run has built is kept"):
        proceed(shop)
    change(shop, FIXED)

    assert proceed(shop) == {"d_fixed", "e_last"}


@pytest.mark.soak
def test_stopped_while_it_continues_it_continues_again(shop: Project, tmp_path: Path) -> None:
    slow = {"models/d_fixed.sql": f"select {{{{ halved('id') }}}} as half from {{{{ ref('a_staged') }}}} where {LONG}"}
    changed = slow | {"models/b_other.sql": "select 2 as rate"}
    change(shop, changed)
    with pytest.raises(Stopped):
        Pod(shop).command(*BUILD, watcher=stop_at("d_fixed"))

    assert proceed(shop) <= {"b_other", "d_fixed", "e_last"}
    assert relations(shop.reads) == from_nothing(tmp_path, changed)


def test_after_another_build_was_published_it_restarts(
    shop: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change(shop, FIXED)
    proceed(shop, "another")

    with caplog.at_level(logging.INFO):
        ran = proceed(shop)

    assert "restarting, because generation 1 was published since it began from nothing" in caplog.text
    assert "raw" in ran


def test_another_run_continues_a_failed_one(shop: Project, tmp_path: Path) -> None:
    change(shop, FIXED)

    assert proceed(shop, "next", continues="run") == {"d_fixed", "e_last"}
    assert relations(shop.reads) == from_nothing(tmp_path, FIXED)
    assert not (Volume(shop.writes).failed / "run").exists()
