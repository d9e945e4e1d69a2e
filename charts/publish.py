"""What a release makes of the repository: the version that a tag names, the notes, and the packaged chart.

    python charts/publish.py check v0.1.0     # prints 0.1.0; fails if that is not what this revision declares
    python charts/publish.py notes            # this version's section of CHANGELOG.md
    python charts/publish.py chart --source https://git.example.com/dbtpod --demo example.com/dbtpod-demo@sha256:… .

Where it is published is known to the release only: home, sources and images are written into a copy of the chart.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "dbtpod"
# Keep a Changelog's headings, and Artifact Hub's kinds of change.
KINDS = ("added", "changed", "deprecated", "removed", "fixed", "security")


def version() -> str:
    """Give the version that pyproject.toml declares, for package, image and chart."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def section(text: str, of: str) -> tuple[str, str]:
    """Give what stands beside a version in its heading of the changelog, and the section's text."""
    found = re.search(rf"^## \[{re.escape(of)}\] - ([^\n]+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise SystemExit(f"CHANGELOG.md has no section ## [{of}] - DATE: write what changed in this version.")
    return found[1].strip(), found[2].strip()


def changes(text: str) -> list[dict[str, str]]:
    """Give the entries of a section as Artifact Hub reads them: `- One.` under `### Added` is `added`."""
    entries: list[dict[str, str]] = []
    for heading, body in re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL):
        kind = heading.lower()
        if kind not in KINDS:
            raise SystemExit(f"CHANGELOG.md has a heading ### {heading}; Keep a Changelog has {', '.join(KINDS)}.")
        found = re.findall(r"^- (.*(?:\n  .*)*)", body, re.MULTILINE)
        entries += [{"kind": kind, "description": re.sub(r"[*`]|\s+", _plain, each)} for each in found]
    return entries


def _plain(mark: re.Match[str]) -> str:
    return " " if mark[0].isspace() else ""


def checked(tag: str, changelog: str) -> str:
    """Give the tag's version, if it is the declared one and its section says when it was released."""
    declared = version()
    if tag != f"v{declared}":
        raise SystemExit(f"The tag {tag} is not v{declared}, the version of pyproject.toml.")
    date, _ = section(changelog, declared)
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", date):
        raise SystemExit(f"CHANGELOG.md says {date!r} of {declared}: write the day of the release, such as 2026-11-26.")
    return declared


def package(folder: Path, source: str, demo: str, images: list[str], changelog: str) -> Path:
    """Package the chart with its place, so that it installs the demo from there; give the file."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "dbtpod"
        shutil.copytree(CHART, copy)
        chart: dict[str, Any] = yaml.safe_load((copy / "Chart.yaml").read_text())
        chart |= {"home": source, "sources": [source]}
        named = [{"name": _name(each), "image": each} for each in [demo, *images]]
        chart["annotations"] |= {
            "artifacthub.io/images": yaml.safe_dump(named, sort_keys=False),
            "artifacthub.io/changes": yaml.safe_dump(changes(section(changelog, version())[1]), sort_keys=False),
        }
        (copy / "Chart.yaml").write_text(yaml.safe_dump(chart, sort_keys=False))
        values = copy / "values.yaml"
        # As text, as values.yaml is the manual and its comments belong to it.
        text, replaced = re.subn(
            r"^  repository: dbtpod-demo\b(?!-)",
            f"  repository: {demo.partition('@')[0]}",
            values.read_text(),
            flags=re.M,
        )
        if replaced != 1:
            raise SystemExit("charts/dbtpod/values.yaml has no line `  repository: dbtpod-demo`.")
        values.write_text(text)
        subprocess.run(["helm", "package", copy, "--destination", folder], check=True, stdout=sys.stderr)  # noqa: S607
    return folder / f"dbtpod-{version()}.tgz"


def _name(image: str) -> str:
    return image.partition("@")[0].rpartition("/")[2]


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("tag")
    commands.add_parser("notes")
    chart = commands.add_parser("chart")
    chart.add_argument("--source", required=True, help="the repository's address")
    chart.add_argument("--demo", required=True, help="the demo's image by digest, which the chart has as its default")
    chart.add_argument("--image", action="append", default=[], help="another image of the release, by digest")
    chart.add_argument("folder", type=Path)
    given = parser.parse_args()
    changelog = (ROOT / "CHANGELOG.md").read_text()
    if given.command == "check":
        said = checked(given.tag, changelog)
    elif given.command == "notes":
        said = section(changelog, version())[1]
    else:
        said = str(package(given.folder, given.source, given.demo, given.image, changelog))
    sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main()
