"""What the command `dbtpod` says to somebody who mistyped: what is wrong, where, and what to do."""

from pathlib import Path

import pytest

from dbtpod import cli


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a dbt project, a volume, and no flows."""
    (tmp_path / "dbt_project").mkdir()
    (tmp_path / "dbt_project" / "dbt_project.yml").write_text("name: shop\n")
    (tmp_path / "data" / "work").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DUCKDB_PATH", str(tmp_path / "data" / "work" / "warehouse.duckdb"))
    for name in ("PREFECT_API_URL", "DBT_PROJECT_DIR", "DBTPOD_VOLUME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("rnu", 2, "No such command 'rnu'. Did you mean 'run'?"),
        ("run bild", 1, "'bild' is no deployment of prefect.yaml and no dbt command; did you mean 'build'?"),
        ("serve", 1, "prefect.yaml, which says what runs when: `dbtpod init` writes one."),
        ("generations lst", 2, "No such command 'lst'. Did you mean 'list'?"),
        ("generations diff 1", 2, "Missing argument 'AFTER'."),
        ("generations rollback six", 2, "'six' is not a valid integer."),
        ("generations rollback 6", 1, "There is no generation 6 in "),
        ("register --pol x", 2, "No such option '--pol'. Did you mean '--pool'?"),
        ("register --file prefect.yml", 1, "prefect.yml cannot be read: "),
        ("execute", 2, "Missing argument 'FLOW_RUN_ID'."),
    ],
)
def test_a_wrong_command_is_answered_with_what_to_write(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, code: int, said: str
) -> None:
    assert cli.main(command.split()) == code
    printed = capsys.readouterr().err
    assert said in printed
    assert "?." not in printed


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "DUCKDB_PATH is not set, nor is DBTPOD_VOLUME: give the DuckDB file's path"),
        ("warehouse.duckdb", "it must be absolute, such as /data/work/warehouse.duckdb"),
        ("/nowhere/work/warehouse.duckdb", "the folder /nowhere does not exist: create or mount it"),
    ],
)
def test_a_wrong_path_is_answered_with_a_right_one(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    path: str,
    said: str,
) -> None:
    monkeypatch.setenv("DUCKDB_PATH", path)

    assert cli.main(["generations", "list"]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("group", ["", "generations"])
def test_the_list_of_commands_cuts_no_sentence(capsys: pytest.CaptureFixture[str], group: str) -> None:
    cli.main([*group.split(), "--help"])

    assert "..." not in capsys.readouterr().out.split("Commands:")[1]
