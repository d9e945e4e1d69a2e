"""`dbtpod init` and `dbtpod init --update`, as they are typed."""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dbtpod import __version__, cli
from dbtpod.init import record
from own_projects import AT_THE_ROOT, FRESH, project, write

FILES = ["prefect.yaml", "Dockerfile", "Dockerfile.dockerignore", "values.yaml", ".github/workflows/dbtpod.yml"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def dbtpod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Give the command, run in the folder of the test: its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DBT_PROJECT_DIR", raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(words)
        return code, *capsys.readouterr()

    return run


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def age(folder: Path, **changes: str) -> None:
    """Make the repository what an older version wrote, whose templates had these words in place of today's."""
    kept = record.read(folder)
    assert kept is not None
    words = {__version__: "0.0.9", **changes}
    old = {path: _replaced(text, words) for path, text in kept.files.items()}
    write(folder, old)
    record.write(folder, record.Record(replace(kept.choices, version="0.0.9"), old))


def _replaced(text: str, words: dict[str, str]) -> str:
    for now, before in words.items():
        text = text.replace(now, before)
    return text


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert text.count(before) == 1, text
    file.write_text(text.replace(before, after))


# ---- written once


def test_it_writes_the_files_and_says_which_and_what_comes_next(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)

    code, output, errors = dbtpod("init")

    assert (code, errors) == (0, "")
    assert set(contents(tmp_path)) == {*AT_THE_ROOT, *FILES, record.FILE}
    assert all(f"  {file} " in output for file in FILES)
    commands = ["dbtpod check", "dbtpod run", "docker build --tag shop:1 .", "helm upgrade --install shop CHART "]
    assert [output.index(f"\n  {command}") for command in commands] == sorted(
        output.index(f"\n  {command}") for command in commands
    )
    assert len(output.splitlines()) <= 16


def test_in_a_git_repository_the_tag_is_the_revision_and_the_branch_is_the_remotes(dbtpod: Run, tmp_path: Path) -> None:
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q", "-b", "trunk", str(origin)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], cwd=origin, check=True)
    subprocess.run([*git, "clone", "-q", str(origin), str(clone)], check=True)
    subprocess.run([*git, "switch", "-q", "-c", "feature"], cwd=clone, check=True)
    write(clone, AT_THE_ROOT)

    _, output, _ = dbtpod("init", "clone")

    assert "\n  cd clone\n" in output
    assert "docker build --tag shop:$(git rev-parse --short HEAD) ." in output
    assert 'branches: ["trunk"]' in (clone / FILES[4]).read_text()


def test_the_schedules_timezone_is_utc_or_the_one_that_is_given(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)

    code, _, errors = dbtpod("init", "--timezone", "Berlin")
    assert code == 1 and "--timezone Berlin: there is no such timezone" in errors

    assert dbtpod("init", "--timezone", "Europe/Berlin")[0] == 0
    assert re.findall(r"timezone: (.*)", (tmp_path / "prefect.yaml").read_text()) == ["Europe/Berlin"] * 2


@pytest.mark.parametrize("files", [{}, {"a/dbt_project.yml": project("a"), "b/dbt_project.yml": project("b")}])
def test_where_no_project_is_meant_nothing_is_written(dbtpod: Run, tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, files)

    code, output, errors = dbtpod("init")

    assert (code, output) == (1, "") and "dbt_project" in errors.replace("dbt projects", "dbt_project")
    assert contents(tmp_path) == files


def test_a_file_that_was_there_stays_and_the_message_says_what_to_do(dbtpod: Run, tmp_path: Path) -> None:
    mine = {"prefect.yaml": "name: mine\n", "values.yaml": "image: {tag: x}\n"}
    write(tmp_path, {**AT_THE_ROOT, **mine})

    code, output, errors = dbtpod("init")

    assert code == 1
    assert {path: text for path, text in contents(tmp_path).items() if path in mine} == mine
    assert "prefect.yaml is not from `dbtpod init` and stays" in errors
    assert "dbtpod init --force prefect.yaml" in errors and "values.yaml is not from" in errors
    assert "Dockerfile " in output and "Next:" in output


def test_a_dockerfile_of_the_users_own_is_built_with_what_it_was_given_before(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, {**AT_THE_ROOT, "Dockerfile": "FROM scratch\n"})

    code, _, errors = dbtpod("init")

    assert code == 1 and "Dockerfile.dockerignore is not written" in errors
    assert not (tmp_path / "Dockerfile.dockerignore").exists()


def test_a_link_that_leads_nowhere_is_not_written_through(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)
    (tmp_path / "values.yaml").symlink_to(tmp_path / "elsewhere.yaml")

    code, _, errors = dbtpod("init")

    assert code == 1 and "values.yaml is not from" in errors and not (tmp_path / "elsewhere.yaml").exists()


def test_force_overwrites_the_file_that_it_names_and_no_other(dbtpod: Run, tmp_path: Path) -> None:
    mine = {"prefect.yaml": "name: mine\n", "values.yaml": "image: {tag: x}\n"}
    write(tmp_path, {**AT_THE_ROOT, **mine})

    code, _, errors = dbtpod("init", "--force", "prefect.yaml")

    assert code == 1 and "values.yaml" in errors and "prefect.yaml" not in errors
    assert "shop-build-daily" in (tmp_path / "prefect.yaml").read_text()
    assert (tmp_path / "values.yaml").read_text() == mine["values.yaml"]


def test_force_with_another_name_lists_the_files(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)

    code, _, errors = dbtpod("init", "--force", "prefect.yml")

    assert code == 1 and "--force prefect.yml" in errors and "prefect.yaml, Dockerfile," in errors
    assert contents(tmp_path) == AT_THE_ROOT


def test_a_second_init_changes_nothing_and_keeps_edits(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)
    dbtpod("init")
    edit(tmp_path / "prefect.yaml", "0 6 * * *", "0 4 * * *")
    before = contents(tmp_path)

    code, output, errors = dbtpod("init")

    assert (code, errors) == (0, "") and "is there already" in output
    assert contents(tmp_path) == before


def test_a_lost_record_is_made_again_of_what_was_not_edited(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)
    dbtpod("init")
    before = contents(tmp_path)
    (tmp_path / record.FILE).unlink()

    assert dbtpod("init")[0] == 0
    assert contents(tmp_path) == before


# ---- updated


def test_an_update_brings_the_newer_template_and_keeps_the_edits(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)
    dbtpod("init")
    wanted = contents(tmp_path)
    age(tmp_path, **{"actions/checkout@v5": "actions/checkout@v4", "memory: 2Gi": "memory: 1Gi"})
    edit(tmp_path / "prefect.yaml", "0 6 * * *", "0 4 * * *")
    edit(tmp_path / "values.yaml", "repository: shop", "repository: registry.example.com/shop")
    (tmp_path / "prefect.yaml").chmod(0o640)

    code, output, errors = dbtpod("init", "--update")

    assert (code, errors) == (0, "")
    assert f"From dbtpod 0.0.9 to dbtpod {__version__}" in output
    edit(tmp_path / "prefect.yaml", "0 4 * * *", "0 6 * * *")
    edit(tmp_path / "values.yaml", "repository: registry.example.com/shop", "repository: shop")
    assert contents(tmp_path) == wanted
    assert (tmp_path / "prefect.yaml").stat().st_mode & 0o777 == 0o640


def test_a_second_update_changes_nothing(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)
    dbtpod("init")
    age(tmp_path)
    dbtpod("init", "--update")
    before = contents(tmp_path)

    code, output, _ = dbtpod("init", "--update")

    assert code == 0 and "updated" not in output
    assert contents(tmp_path) == before


def test_lines_that_both_changed_are_shown_as_git_shows_them(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)
    dbtpod("init")
    age(tmp_path, **{"memory: 2Gi": "memory: 1Gi"})
    edit(tmp_path / "values.yaml", "memory: 1Gi", "memory: 8Gi")

    code, output, errors = dbtpod("init", "--update")

    assert code == 1 and "values.yaml has 1 conflict:" in errors and "values.yaml" not in output
    conflict = (
        "<<<<<<< yours\n    limits: {memory: 8Gi}\n=======\n    limits: {memory: 2Gi}\n"
        f">>>>>>> dbtpod {__version__}\n"
    )
    assert conflict in (tmp_path / "values.yaml").read_text()
    assert f"dbtpod:{__version__}" in (tmp_path / "Dockerfile").read_text()


def test_marks_that_are_still_there_stop_the_next_update_of_that_file(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)
    dbtpod("init")
    age(tmp_path, **{"memory: 2Gi": "memory: 1Gi"})
    edit(tmp_path / "values.yaml", "memory: 1Gi", "memory: 8Gi")
    dbtpod("init", "--update")
    before = contents(tmp_path)

    code, _, errors = dbtpod("init", "--update")

    assert code == 1 and "values.yaml still has git's marks" in errors
    assert contents(tmp_path) == before


def test_a_removed_file_stays_away_and_a_file_of_the_users_own_stays_as_it_is(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, {**AT_THE_ROOT, "values.yaml": "image: {tag: x}\n"})
    dbtpod("init")
    age(tmp_path)
    (tmp_path / FILES[4]).unlink()

    code, output, errors = dbtpod("init", "--update")

    assert code == 1 and "values.yaml is not from" in errors and "stays away, as you removed it" in output
    assert not (tmp_path / FILES[4]).exists()
    assert (tmp_path / "values.yaml").read_text() == "image: {tag: x}\n"


def test_lines_keep_the_ends_that_a_checkout_on_windows_gave_them(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)
    dbtpod("init")
    age(tmp_path)
    for path in [*FILES, record.FILE]:
        file = tmp_path / path
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))

    code, _, _ = dbtpod("init", "--update")

    assert code == 0
    dockerfile = (tmp_path / "Dockerfile").read_bytes()
    assert f"ARG DBTPOD=dbtpod:{__version__}\r\n".encode() in dockerfile
    assert dockerfile.count(b"\n") == dockerfile.count(b"\r\n")


def test_an_update_follows_the_project_and_keeps_its_name_and_timezone(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)
    dbtpod("init", "--timezone", "Asia/Tokyo")
    write(tmp_path, {"dbt_project.yml": project("renamed"), "models/sources.yml": FRESH})

    assert dbtpod("init", "--update")[0] == 0

    text = (tmp_path / "prefect.yaml").read_text()
    assert "name: shop-source-freshness" in text and "renamed-" not in text
    assert re.findall(r"timezone: (.*)", text) == ["Asia/Tokyo"] * 4


def test_an_update_needs_the_record(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)

    code, _, errors = dbtpod("init", "--update")
    assert code == 1 and record.FILE in errors and "`dbtpod init` writes it" in errors

    (tmp_path / record.FILE).write_text("files: [")
    code, _, errors = dbtpod("init", "--update")
    assert code == 1 and "take it from your last commit" in errors


def test_a_file_that_cannot_be_merged_leaves_all_files_as_they_were(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)
    dbtpod("init")
    age(tmp_path)
    (tmp_path / "values.yaml").write_bytes(b"image: {repository: caf\xe9}\n")
    before = {path: (tmp_path / path).read_bytes() for path in [*FILES, record.FILE]}

    code, _, errors = dbtpod("init", "--update")

    assert code == 1 and "values.yaml cannot be read, so nothing was changed" in errors
    assert {path: (tmp_path / path).read_bytes() for path in before} == before


def test_without_git_an_update_says_so_and_init_works(
    dbtpod: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert shutil.which("git") is None
    write(tmp_path, AT_THE_ROOT)

    assert dbtpod("init")[0] == 0
    age(tmp_path)

    code, _, errors = dbtpod("init", "--update")
    assert code == 1 and "git, which is not on PATH" in errors


def test_update_and_force_together_are_a_wrong_command_line(dbtpod: Run, tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)

    assert dbtpod("init", "--update", "--force", "Dockerfile")[0] == 2
    assert dbtpod("init", "no-such-folder")[0] == 2
