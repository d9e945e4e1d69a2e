"""charts/publish.py: what a release takes from the repository, and what it makes of the chart."""

import subprocess
from pathlib import Path

import pytest
import yaml

from rendering import ROOT, need, script

SECTION = """
### Added
- `dbtpod run` takes **any** project,
  also one in a subfolder.
- Runs resume.

### Security
- Pods have no token.
"""
LOG = f"# Changelog\n\n## [Unreleased]\n- Later.\n\n## [{{}}] - {{}}\n{SECTION}\n## [0.0.1] - 2026-01-01\n- First.\n"
DEMO = f"registry.example.com/team/dbtpod-demo@sha256:{'a' * 64}"


publish = script("publish")
VERSION = publish.version()


def test_a_tag_publishes_the_version_that_is_declared() -> None:
    assert publish.checked(f"v{VERSION}", LOG.format(VERSION, "2026-11-26")) == VERSION


@pytest.mark.parametrize("tag", ["v9.9.9", "main", VERSION])
def test_another_tag_publishes_nothing(tag: str) -> None:
    with pytest.raises(SystemExit, match=f"is not v{VERSION}"):
        publish.checked(tag, LOG.format(VERSION, "2026-11-26"))


@pytest.mark.parametrize(
    ("log", "said"),
    [(LOG.format(VERSION, "not yet released"), "write the day"), (LOG.format("0.0.9", "2026-11-26"), "has no section")],
)
def test_a_version_without_a_day_in_the_changelog_is_not_published(log: str, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        publish.checked(f"v{VERSION}", log)


def test_the_notes_are_the_versions_own_section() -> None:
    assert publish.section(LOG.format(VERSION, "2026-11-26"), VERSION)[1] == SECTION.strip()


def test_artifact_hub_gets_each_entry_with_its_kind_and_without_marks() -> None:
    assert publish.changes(SECTION) == [
        {"kind": "added", "description": "dbtpod run takes any project, also one in a subfolder."},
        {"kind": "added", "description": "Runs resume."},
        {"kind": "security", "description": "Pods have no token."},
    ]


def test_a_heading_that_keep_a_changelog_does_not_have_is_named() -> None:
    with pytest.raises(SystemExit, match="### News"):
        publish.changes("### News\n- Something.\n")


def test_the_changelog_of_this_version_can_be_published() -> None:
    _, text = publish.section((ROOT / "CHANGELOG.md").read_text(), VERSION)

    assert len(publish.changes(text)) > 5


def test_the_packaged_chart_names_its_place_and_installs_the_demo_from_there(tmp_path: Path) -> None:
    need("helm")
    build = f"registry.example.com/team/dbtpod@sha256:{'b' * 64}"

    log = LOG.format(VERSION, "2026-11-26")
    file = publish.package(tmp_path, "https://git.example.com/dbtpod", DEMO, [build], log)

    chart = yaml.safe_load(helm("show", "chart", str(file)))
    assert chart["version"] == VERSION
    assert {chart["home"], *chart["sources"]} == {"https://git.example.com/dbtpod"}
    assert yaml.safe_load(chart["annotations"]["artifacthub.io/images"]) == [
        {"name": "dbtpod-demo", "image": DEMO},
        {"name": "dbtpod", "image": build},
    ]
    assert yaml.safe_load(chart["annotations"]["artifacthub.io/changes"]) == publish.changes(SECTION)
    assert f"image: registry.example.com/team/dbtpod-demo:{VERSION}" in helm("template", str(file)).replace('"', "")
    assert "# Everything that can be set" in helm("show", "values", str(file))
    assert "dbtpod-demo@" not in (ROOT / "charts" / "dbtpod" / "values.yaml").read_text()


def helm(*args: str) -> str:
    return subprocess.run(["helm", *args], capture_output=True, text=True, check=True).stdout
