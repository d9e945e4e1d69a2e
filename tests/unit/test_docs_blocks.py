"""Each code block of the pages is executed by a test, or says in the page's source why not; YAML is executed here."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import pages
from dbtpod.registration import deployments
from pages import ROOT, Block
from rendering import helm_template

ALL = pages.blocks()
SHELL = [block for block in ALL if block.language == "sh"]


@pytest.mark.parametrize("block", ALL, ids=str)
def test_a_block_is_executed_or_says_why_not(block: Block) -> None:
    assert block.language, f"{block}: the block names no language"
    assert block.kind or block.reason, (
        f"{block}: nothing executes {block.language}. Say why above it, <!-- not executed: reason -->, or execute it."
    )


@pytest.mark.parametrize(("kind", "file"), pages.KINDS.items())
def test_the_test_of_a_kind_of_block_takes_all_blocks_of_that_kind(kind: str, file: str) -> None:
    assert f'pages.executed("{kind}")' in (ROOT / file).read_text()


def test_a_reason_stands_right_before_its_block() -> None:
    assert sorted(pages.marks()) == sorted(block.reason for block in pages.blocks() if block.reason)


def test_a_block_that_nothing_executes_is_found_also_in_a_list() -> None:
    text = """
# Heading

1. A step:

   ```cobol
   STOP RUN.
   ```

<!-- not executed: a drawing -->
```text
-->
```
"""

    unknown, drawing = pages.blocks_of("page.md", text)

    assert (str(unknown), unknown.heading, unknown.text) == ("page.md:6", "Heading", "STOP RUN.\n")
    assert (unknown.kind, unknown.reason) == ("", "")
    assert drawing.reason == "a drawing"


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_shell_block_is_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", pages.executed("values"), ids=str)
def test_the_chart_takes_the_values_of_a_block(block: Block) -> None:
    done = helm_template(yaml.safe_load(block.text))

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", pages.executed("deployments"), ids=str)
def test_the_deployments_of_a_block_can_be_registered(block: Block, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "flows", tmp_path / "flows")
    (tmp_path / "prefect.yaml").write_text(block.text)

    assert deployments.read(tmp_path / "prefect.yaml", environment={}).deployments
