"""A target of the profile, parsed by dbt for one kind of run, and then looked at as a pod will.

A variable that has no value while an image is built stands in with a placeholder, and so does each one whose name says
that it is a secret: what dbt parses holds the values that it has read. The look afterwards gives every placeholder
another value, as a pod would, and says which of them is part of what was parsed.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbtpod.dbt import process, yaml_file
from dbtpod.dbt.parse_state import FILE, baked_path
from dbtpod.dbt.project import Project
from dbtpod.errors import DbtUnusable

_PROCESS = Path(__file__).with_name("parse_process.py")
_MISSING = re.compile(r"Env var required but not provided: '(\w+)'")
_READ = re.compile(r"""env_var\(\s*(['"])(\w+)\1\s*\)""")
_IS_SECRET = re.compile(
    r"^DBT_ENV_SECRET_|(^|_)(KEY|PASS|PASSWD|PASSWORD|SECRETS?|TOKEN|CREDENTIALS?)(_|$)", re.IGNORECASE
)
# For the parse, and for the look: a text that is a number, then one that is none. A secret is one that dbt may take out
# of its log wherever it stands.
_PLACEHOLDERS = (("1", "2"), ("true", "false"))
_SECRET_PLACEHOLDER = ("dbtpod-placeholder", "dbtpod-other-placeholder")
# What the chart gives to each pod, and may differ.
_OF_POD = {
    "DBTPOD_MEMORY_LIMIT": "123MB",
    "DBTPOD_TEMP_DIRECTORY": "/tmp/duckdb",  # noqa: S108
    "DBTPOD_TEMP_LIMIT": "456MB",
}


class Parser:
    """A process that runs dbt one time after the other, with one import of it."""

    def __init__(self) -> None:
        self._popen: subprocess.Popen[str] | None = None

    def close(self) -> None:
        """End it; the next run has a new one."""
        if self._popen:
            self._popen.communicate()
            self._popen = None

    def run(self, run: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run dbt to its end, and return what it said."""
        target_dir = Path(run["environment"]["DBT_TARGET_PATH"])
        shutil.rmtree(target_dir, ignore_errors=True)
        target_dir.mkdir()
        if self._popen is None or self._popen.poll() is not None:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", _PROCESS],
                cwd=run["environment"]["DBT_PROJECT_DIR"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._popen.stdin and self._popen.stdout  # noqa: S101
        self._popen.stdin.write(json.dumps(run) + "\n")
        self._popen.stdin.flush()
        if not self._popen.stdout.readline():
            # It has become the plain dbt, or died: what was printed tells.
            self._popen.wait()
        return _events(Path(run["output"]))


@dataclass
class BakedTarget:
    """One target for runs that write, or for those that only read."""

    project: Project
    name: str
    environment: Mapping[str, str]
    # Where what dbt compiles is kept; None: nowhere.
    precompiled: Path | None = None
    # Where an earlier bake has kept it, maybe.
    known: Path | None = None
    _missing: set[str] = field(default_factory=set)
    _kind: int = 0

    def bake(self, parser: Parser) -> list[str]:
        """Parse the project, keep what dbt parsed, and return what a user should know of it.

        DbtUnusable has dbt's own lines where it cannot parse.
        """
        self._missing = self._read_without_value()
        with tempfile.TemporaryDirectory() as folder:
            parsed, looked = Path(folder) / "parsed", Path(folder) / "looked"
            while not _has_ended_well(said := parser.run(self._run(parsed))):
                self._give_placeholders(said)
                if self.precompiled:
                    # Which takes what a new process compiles.
                    parser.close()
            baked = baked_path(self.project, self.name)
            baked.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(parsed / FILE, baked)
            reason = _reason(parser.run(self._run(looked, self._missing, baked)))
            return self._explained(parser, looked, baked, reason) if reason else []

    def _read_without_value(self) -> set[str]:
        files = [self.project.folder / "dbt_project.yml", self.project.profiles_dir / "profiles.yml"]
        texts = [text for file in files for text in _texts(yaml_file.read(file))]
        read = {found[1] for text in texts for found in _READ.findall(text)}
        return read - self._known().keys() - {"DUCKDB_PATH", "DBTPOD_READABLE_PATH"}

    def _known(self) -> dict[str, str]:
        return {name: value for name, value in self.environment.items() if not _IS_SECRET.search(name)}

    def _give_placeholders(self, said: Iterable[dict[str, Any]]) -> None:
        """Have another try with one more placeholder, or with others; DbtUnusable where that is of no use."""
        lines = [event["info"]["msg"] for event in said if event["info"]["level"] == "error"]
        missing = {name for line in lines for name in _MISSING.findall(line)}
        if missing - self._missing:
            self._missing |= missing
        elif self._missing and self._kind + 1 < len(_PLACEHOLDERS):
            self._kind += 1
        else:
            hint = f" These variables have no value here: {', '.join(sorted(self._missing))}." if self._missing else ""
            text = "\n".join(lines)
            raise DbtUnusable(f"dbt cannot parse {self.project.folder} for the target `{self.name}`.{hint}\n{text}")

    def _explained(self, parser: Parser, folder: Path, baked: Path, reason: str) -> list[str]:
        """Say why a pod parses what was parsed here, by trying each variable alone."""
        always = _reason(parser.run(self._run(folder, (), baked))) if self._missing else reason
        if always:
            return [f"Target `{self.name}`: each pod parses again what was parsed here: {always}."]
        reasons = {name: _reason(parser.run(self._run(folder, {name}, baked))) for name in sorted(self._missing)}
        return [
            f"Target `{self.name}`: the value of {name} is part of what was parsed, so a pod with another one parses "
            f"again: {found}. If it is no secret, set it where `dbtpod bake` runs."
            for name, found in reasons.items()
            if found
        ]

    def _run(self, target_dir: Path, others: Container[str] = (), state: Path | None = None) -> dict[str, Any]:
        """Describe a parse with the placeholders: `others` have their other value; with `state`, as in a pod."""
        inherited = self._known() | {name: self._placeholder(name, name in others) for name in self._missing}
        environment = process.environment(self.project, target_dir, inherited)
        compiles = self.precompiled and not state
        # Only what is compiled is read off dbt's own artifacts.
        environment |= (_OF_POD if state else {}) | ({} if compiles else {"DBT_WRITE_JSON": "false"})
        return {
            "args": ["parse", "--target", self.name],
            "environment": environment,
            "output": str(target_dir / "output.jsonl"),
            "state": str(state) if state else None,
            "precompiled": str(self.precompiled) if compiles else None,
            "known": str(self.known) if self.known else None,
        }

    def _placeholder(self, name: str, is_other: bool) -> str:
        return (_SECRET_PLACEHOLDER if _IS_SECRET.search(name) else _PLACEHOLDERS[self._kind])[is_other]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _events(file: Path) -> list[dict[str, Any]]:
    """Return what dbt said; a line that is no event of it, such as a traceback, is an error."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    return [_event(line) for line in lines if line.strip()]


def _event(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
        if isinstance(found["info"]["name"], str):
            return found  # type: ignore[no-any-return]
    except (ValueError, KeyError, TypeError):
        pass
    return {"info": {"name": "", "level": "error", "msg": line}, "data": {}}


def _has_ended_well(said: Iterable[dict[str, Any]]) -> bool:
    return any(event["info"]["name"] == "CommandCompleted" and event["data"].get("success") for event in said)


def _reason(said: Sequence[dict[str, Any]]) -> str:
    """Why dbt parsed, in its own words; empty where it parsed nothing."""
    messages = {event["info"]["name"]: event["info"]["msg"] for event in said}
    if "PartialParsingSkipParsing" in messages:
        return ""
    for name in ("UnableToPartialParse", "PartialParsingNotEnabled", "PartialParsingEnabled"):
        if name in messages:
            return str(messages[name]).rstrip(".")
    return "dbt does not say why"
