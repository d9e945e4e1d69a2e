"""docs/warehouse.md and the code say the same: commands, layout, and the messages that a reader searches for."""

import re
from pathlib import Path

import pytest

import volume_damage as damaged
import warehouse
from dbtpod import cli

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "warehouse.md").read_text()
CODE = " ".join(
    re.sub(r'"\s*\n\s*f?"', "", path.read_text())
    for path in [*(ROOT / "src" / "dbtpod" / "warehouse").glob("*.py"), ROOT / "src" / "dbtpod" / "settings.py"]
)


def test_every_command_is_documented_and_no_other() -> None:
    documented = set(re.findall(r"dbtpod generations (\w+)", TEXT))

    assert documented == set(cli.generations.commands)


def test_the_layout_is_what_a_volume_has(tmp_path: Path) -> None:
    kept = damaged.with_history(warehouse.new(tmp_path))
    kept.volume.owner.write_text("{")
    damaged.build(kept)
    with warehouse.alone(kept):
        damaged.begin(kept, "failed")
    layout = TEXT.split("```")[1]

    names = {path.relative_to(tmp_path).parts[0] for path in tmp_path.iterdir()}
    names |= {path.name for path in tmp_path.glob("work/*")} | {
        path.name for path in tmp_path.glob("published/000002/*")
    }

    assert names >= {"work", "published", "set-aside", "writer.lock", "owner.json", "warehouse.duckdb"}
    assert [name for name in names if name not in layout] == []


@pytest.mark.parametrize("message", re.findall(r"`([^`]*…[^`]*)`", TEXT.split("## When it says no")[1].split("## ")[0]))
def test_a_message_that_is_explained_is_one_that_the_code_gives(message: str) -> None:
    """Each part between the places of values is in the source as it is written."""
    known = re.sub(r"\{[^{}]*\}", "…", CODE)
    # Both kinds are values there.
    message = re.sub("is a (file|folder) where a (file|folder) belongs", "… where a … belongs", message)

    parts = [part.strip(" '().") for part in re.split(r"…|[0-9.]+ GB|nfs4", message)]

    assert any(len(part) > 5 for part in parts)
    assert [part for part in parts if part not in known] == []
