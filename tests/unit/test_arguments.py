"""dbt's command line, read as dbt reads it: by hand here, and against the options of the dbt that is installed."""

import pytest

from dbtpod.dbt import arguments


@pytest.mark.parametrize(
    ("args", "resumed"),
    [
        (["build"], ["build"]),
        (["build", "--select", "a", "b+", "--vars", "{day: 1}"], ["build", "--vars", "{day: 1}"]),
        (["build", "-s", "a", "-t", "prod", "-xf"], ["build", "--target", "prod", "--fail-fast", "--full-refresh"]),
        (["build", "--models=a", "--vars={x: 1}", "-tprod"], ["build", "--vars", "{x: 1}", "--target", "prod"]),
        (["build", "--selector", "smoke", "--warn-error"], ["build", "--warn-error"]),
        (["--fail-fast", "run", "--exclude", "a", "b", "--threads", "2"], ["--fail-fast", "run", "--threads", "2"]),
        # As in dbt: what follows --exclude is excluded until a word with two dashes.
        (["build", "--exclude", "a", "-t", "prod", "--empty"], ["build", "--empty"]),
        (
            ["build", "--resource-type", "model", "--select", "a", "-t", "p"],
            ["build", "--resource-type", "model", "--target", "p"],
        ),
        (["build", "--quiet", "--log-level", "none", "--log-format=text"], ["build"]),
        (["build", "--defer", "--state", "prod"], ["build", "--defer", "--defer-state", "prod"]),
        (["build", "--state", "x", "--defer-state", "prod"], ["build", "--defer-state", "prod"]),
        (["build", "--event-time-start", "2026-01-01"], ["build", "--event-time-start", "2026-01-01"]),
    ],
)
def test_a_resumed_command_has_every_option_but_those_that_select(args: list[str], resumed: list[str]) -> None:
    selection = ["--select", "result:skipped", "--indirect-selection", "empty", "--state", "/s"]

    assert arguments.resumed(args, "/s", {}) == [*resumed, *selection]


@pytest.mark.parametrize(
    ("environment", "defers"),
    [({"DBT_STATE": "/prod"}, ["--defer-state", "/prod"]), ({"DBT_STATE": "/x", "DBT_DEFER_STATE": "/prod"}, [])],
)
def test_a_state_that_the_environment_gives_is_still_what_is_deferred_to(
    environment: dict[str, str], defers: list[str]
) -> None:
    resumed = arguments.resumed(["build", "--defer"], "/s", environment)

    assert resumed[: resumed.index("--select")] == ["build", "--defer", *defers]


@pytest.mark.parametrize(
    ("args", "types", "listed"),
    [
        (["seed", "--full-refresh", "--show"], [], "ls OUT --resource-type seed"),
        (["run", "-m", "a", "--threads", "2", "--empty"], [], "ls --select a OUT --resource-type model"),
        (["test", "--vars", "x"], ["all"], "ls --vars x OUT --resource-type test unit_test"),
        (["build", "--resource-type", "model", "seed"], ["test"], "ls OUT --resource-type model seed"),
        (["--warn-error", "run", "--event-time-end", "2026-01-01"], [], "--warn-error ls OUT --resource-type model"),
    ],
)
def test_the_listing_of_a_command_selects_what_the_command_does(args: list[str], types: list[str], listed: str) -> None:
    found = " ".join(arguments.listing(args, types))

    assert found.replace("--output-keys unique_id --output json --quiet --log-format text", "OUT") == listed


def test_how_dbt_prints_is_not_the_users_choice_and_all_else_is_passed_on_as_it_is() -> None:
    assert arguments.run(["build", "-s", "a b", "-x"]) == ["build", "-s", "a b", "-x"]
    assert arguments.run(["build", "-q", "--log-path", "x", "-s", "a"]) == ["build", "--select", "a"]
