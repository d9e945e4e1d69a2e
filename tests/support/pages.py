"""The repository's pages as tests see them: their code blocks, what stands in backticks, their headings and links.

A block that is not executed has a comment before it that says why: `<!-- not executed: a drawing -->`. All others are
executed by the test file that KINDS names.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
KINDS = {
    "shell": "tests/server/test_docs_on_a_laptop.py",
    "python": "tests/server/test_docs_on_a_laptop.py",
    "sql": "tests/server/test_docs_on_a_laptop.py",
    "session": "tests/unit/test_docs_sessions.py",
    "values": "tests/unit/test_docs_blocks.py",
    "deployments": "tests/unit/test_docs_blocks.py",
    "cluster": "tests/cluster/test_cluster_docs.py",
}
_LANGUAGES = {"console": "session", "python": "python", "sql": "sql"}
_NEEDS_CLUSTER = re.compile(r"^(docker|helm|kind|kubectl|make (up|down|image)) ", re.MULTILINE)
_MARK = re.compile(r"<!-- not executed: (.*\S) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str  # "docs/warehouse.md"
    line: int
    heading: str  # the nearest one above
    language: str  # "sh"; empty where the page names none
    text: str
    reason: str  # why it is not executed; empty where it is

    def __str__(self) -> str:
        """Where it is."""
        return f"{self.page}:{self.line}"

    @property
    def kind(self) -> str:
        """How it is executed, one of KINDS; empty where nothing can."""
        if self.language == "sh":
            return "cluster" if _NEEDS_CLUSTER.search(self.text) else "shell"
        if self.language in ("yaml", "yml"):
            return "deployments" if "deployments" in (yaml.safe_load(self.text) or {}) else "values"
        return _LANGUAGES.get(self.language, "")


def paths() -> list[Path]:
    """Every page of the repository."""
    return [ROOT / each for each in tracked() if each.endswith(".md")]


@cache
def tracked() -> list[str]:
    """The files of the repository, those that are not committed yet included."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(each for each in listed.split("\0") if each and (ROOT / each).is_file())


def blocks() -> list[Block]:
    """Every block of every page."""
    return [block for path in paths() for block in blocks_of(path.relative_to(ROOT).as_posix(), path.read_text())]


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """The blocks of one page, in its order."""
    heading, before = "", None
    tokens = parsed(text)
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and following:
            heading = following.content
        if token.type == "fence" and token.map:
            reason = _MARK.fullmatch(before.content.strip()) if before and before.type == "html_block" else None
            reason_text = reason[1] if reason else ""
            yield Block(page, token.map[0] + 1, heading, token.info.strip(), token.content, reason_text)
        before = token


def executed(kind: str) -> list[Block]:
    """The blocks of that kind that are not marked, in the order of the pages."""
    return [block for block in blocks() if block.kind == kind and not block.reason]


def marks() -> list[str]:
    """The reasons of all marks in the pages, also of those that no block follows."""
    return [found for path in paths() for found in _MARK.findall(path.read_text())]


def line(page: str, start: str) -> str:
    """The one line of that page's blocks that begins so."""
    [found] = [
        each for block in blocks() if block.page == page for each in block.text.splitlines() if each.startswith(start)
    ]
    return found


def commands(notes: str) -> list[str]:
    """The commands in the chart's notes: what stands before and after them is set apart by several blanks."""
    return re.findall(r"(?:^ +|  )((?:kubectl|helm) .*?)(?=  |$)", notes, re.MULTILINE)


def quoted() -> list[tuple[str, str]]:
    """What stands in backticks, or is typed in a block, with its page."""
    inline = [(path.relative_to(ROOT).as_posix(), span) for path in paths() for span in spans(path.read_text())]
    return inline + [(block.page, block.text) for block in blocks() if block.language in ("sh", "console")]


@cache
def literals() -> list[tuple[str, str]]:
    """Each text in the code, messages and docstrings, with its file."""
    return [
        (path.relative_to(ROOT).as_posix(), node.value)
        for path in sorted((ROOT / "src").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def spans(text: str) -> list[str]:
    """What stands in backticks, outside of blocks."""
    return [child.content for token in parsed(text) for child in token.children or [] if child.type == "code_inline"]


def links(text: str) -> list[str]:
    """Where its links and images lead."""
    return [
        str(child.attrs.get("href") or child.attrs.get("src"))
        for token in parsed(text)
        for child in token.children or []
        if child.type in ("link_open", "image")
    ]


def anchors(text: str) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    tokens = parsed(text)
    headings = [tokens[index + 1].content for index, token in enumerate(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def parsed(text: str) -> list[Token]:
    """The page in markdown-it's tokens."""
    return MarkdownIt().enable("table").parse(text)
