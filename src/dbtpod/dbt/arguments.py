"""dbt's command line, read without dbt: which words are options, and the same command with another selection.

What takes a value is a table here, pinned by a test against dbt's own; every other word with a dash is a flag.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dbtpod.errors import SettingsError

_ALIASES = {
    "-s": "--select",
    "-m": "--select",
    "--model": "--select",
    "--models": "--select",
    "-t": "--target",
    "-r": "--record-timing-info",
    "-d": "--debug",
    "-f": "--full-refresh",
    "-q": "--quiet",
    "-x": "--fail-fast",
    "--resource-types": "--resource-type",
    "--exclude-resource-types": "--exclude-resource-type",
}
# They take all words up to the next option.
MULTIPLE = {"--select", "--exclude", "--resource-type", "--exclude-resource-type", "--output-keys"}
SINGLE = {
    "--args",
    "--defer-state",
    "--deprecated-defer",
    "--deprecated-favor-state",
    "--deprecated-state",
    "--event-time-end",
    "--event-time-start",
    "--indirect-selection",
    "--log-file-max-bytes",
    "--log-format",
    "--log-format-file",
    "--log-level",
    "--log-level-file",
    "--log-path",
    "--maximum-seed-size-mib",
    "--output",
    "--partial-parse-file-path",
    "--printer-width",
    "--profile",
    "--profiles-dir",
    "--project-dir",
    "--record-timing-info",
    "--sample",
    "--selector",
    "--sqlparse",
    "--state",
    "--target",
    "--target-path",
    "--threads",
    "--v2-parser",
    "--vars",
    "--warn-error-options",
}
# What `dbt ls` does not take of the verbs below.
NOT_OF_LS = {
    "--args",
    "--empty",
    "--event-time-end",
    "--event-time-start",
    "--export-saved-queries",
    "--full-refresh",
    "--include-saved-query",
    "--no-empty",
    "--no-export-saved-queries",
    "--no-include-saved-query",
    "--sample",
    "--show",
    "--sqlparse",
    "--store-failures",
    "--threads",
}
# The verbs that run nodes, and the resource types that each of them runs: `dbt ls` would list others too.
KINDS: Mapping[str, tuple[str, ...]] = {
    "build": ("model", "seed", "snapshot", "test", "unit_test", "saved_query", "exposure", "function"),
    "run": ("model",),
    "seed": ("seed",),
    "snapshot": ("snapshot",),
    "test": ("test", "unit_test"),
}
# They write nothing, and so read what is published, whatever a writer does meanwhile.
READING = {"compile", "docs", "list", "ls", "parse", "show", "source"}
# The verbs that select nodes and run none, and the resource types that they look at.
_LOOKED_AT: Mapping[str, tuple[str, ...]] = {
    "clone": ("model", "seed", "snapshot"),
    "compile": ("all",),
    "docs": ("all",),
    "list": ("all",),
    "ls": ("all",),
    "show": ("model", "seed", "snapshot", "analysis", "test"),
    "source": ("source",),
}
# What says which project is parsed, and how.
PARSING = {"--profile", "--profiles-dir", "--project-dir", "--target", "--vars"}
_SELECTION = {"--select", "--exclude", "--selector", "--indirect-selection", "--state"}
# How dbt speaks to us and where it writes is this program's own matter: see `process.environment`.
_OURS = {
    "--quiet",
    "--no-quiet",
    "--log-level",
    "--log-format",
    "--log-path",
    "--target-path",
    "--write-json",
    "--no-write-json",
    "--use-colors",
    "--no-use-colors",
}
# One line of JSON for each node.
_AS_IDS = ["--output-keys", "unique_id", "--output", "json", "--quiet", "--log-format", "text"]
# The status by which a resumed command selects what is still to be run.
REMAINING = "skipped"


@dataclass(frozen=True)
class Word:
    """An option with its values, or a word that is none (`name` is then empty)."""

    name: str  # the long form
    values: tuple[str, ...]

    def written(self) -> list[str]:
        """Return the words of a command line; long names, so that no option before can take them for its values."""
        return [self.name, *self.values] if self.name else list(self.values)


@dataclass(frozen=True)
class Arguments:
    """A command of dbt, without `dbt`."""

    words: tuple[Word, ...]

    @property
    def places(self) -> list[str]:
        """The words that are no options: `["source", "freshness"]`."""
        return [word.values[0] for word in self.words if not word.name]

    @property
    def verb(self) -> str:
        """The command's first word that is no option, such as `build`; empty where there is none."""
        return next(iter(self.places), "")

    def last(self, name: str) -> str | None:
        """Return the value that counts where an option is given several times; None where it is not given."""
        return next((word.values[-1] for word in reversed(self.words) if word.name == name and word.values), None)

    def all(self, name: str) -> list[str]:
        """Return all values of an option."""
        return [value for word in self.words if word.name == name for value in word.values]

    def without(self, names: Iterable[str]) -> "Arguments":
        """Return the command without these options."""
        dropped = set(names)
        return Arguments(tuple(word for word in self.words if word.name not in dropped))

    def only(self, names: Iterable[str]) -> "Arguments":
        """Leave all but these options out."""
        kept = set(names)
        return Arguments(tuple(word for word in self.words if word.name in kept))

    def written(self) -> list[str]:
        """Return the command line."""
        return [text for word in self.words for text in word.written()]


def split(command: str | Sequence[str]) -> list[str]:
    """Give the words of a command that is written as a shell has it, or that is a list of words; `dbt` is left out.

    SettingsError where a quotation has no end.

    >>> split("dbt build --select 'tag:daily,stg_orders'")
    ['build', '--select', 'tag:daily,stg_orders']
    """
    try:
        words = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError as error:
        raise SettingsError(f"{command}: {error}. Each quotation mark needs a second one.") from error
    return words[1:] if words[:1] == ["dbt"] else words


def parse(args: Sequence[str]) -> Arguments:
    """Read a command line as dbt does: `--opt value`, `--opt=value`, `-t value`, `-tvalue`, `-xf`.

    >>> parse(["build", "-s", "orders+", "customers", "-xf"]).written()
    ['build', '--select', 'orders+', 'customers', '--fail-fast', '--full-refresh']
    """
    rest = list(args)
    words: list[Word] = []
    while rest:
        words += _long(rest) if rest[0].startswith("--") else _short(rest)
    return Arguments(tuple(words))


def run(args: Sequence[str]) -> list[str]:
    """Return the command that dbt is given: without what a user says of its output, which we read as events.

    >>> run(["build", "--quiet", "--threads", "2"])
    ['build', '--threads', '2']
    """
    found = parse(args)
    return found.without(_OURS).written() if _OURS & {word.name for word in found.words} else list(args)


def resumed(args: Sequence[str], state: str, environment: Mapping[str, str]) -> list[str]:
    """Return the same command for the nodes that have the status REMAINING in `state`, a folder with run results.

    What it defers to stays: a `--state`, or the variable for it, becomes `--defer-state`.

    >>> " ".join(resumed(["build", "--select", "orders+", "--threads", "2"], "left", {}))
    'build --threads 2 --select result:skipped --indirect-selection empty --state left'
    """
    found = parse(args)
    defers_to = found.last("--defer-state") or variable(environment, "DEFER_STATE")
    compared = found.last("--state") or variable(environment, "STATE")
    defer = ["--defer-state", compared] if compared and not defers_to else []
    selection = ["--select", f"result:{REMAINING}", "--indirect-selection", "empty", "--state", state]
    return [*found.without(_SELECTION | _OURS).written(), *defer, *selection]


def variable(environment: Mapping[str, str], option: str) -> str | None:
    """Return what the environment says of an option, by dbt's newer or older name; None where it says nothing.

    >>> variable({"DBT_TARGET": "reader"}, "TARGET")
    'reader'
    """
    return environment.get(f"DBT_ENGINE_{option}") or environment.get(f"DBT_{option}")


def listing(args: Sequence[str], types: Sequence[str]) -> list[str]:
    """Return the `dbt ls` that lists the nodes of a command, one line of JSON each.

    `types` are the resource types that count where the command names none itself; none of them: all that it runs.

    >>> " ".join(listing(["seed", "--select", "raw_orders"], []))
    'ls --select raw_orders --output-keys unique_id --output json --quiet --log-format text --resource-type seed'
    """
    found = parse(args)
    given = found.all("--resource-type") or [*types] or ["all"]
    chosen = dict.fromkeys(kind for name in given for kind in _expanded(name, KINDS[found.verb]))
    before, _, after = _around_verb(found.without(NOT_OF_LS | _OURS | {"--resource-type", "--output", "--output-keys"}))
    return [*before, "ls", *after, *_AS_IDS, "--resource-type", *chosen]


def modified(args: Sequence[str], state: str) -> list[str]:
    """Return the `dbt ls` that lists what of the project is another than in the manifest of the folder `state`.

    >>> " ".join(modified(["build", "--select", "orders", "--target", "prod"], "before")[:7])
    'ls --target prod --select state:modified --state before'
    """
    parsing = parse(args).only(PARSING).written()
    return ["ls", *parsing, "--select", "state:modified", "--state", state, *_AS_IDS, "--resource-type", "all"]


def lookup(args: Sequence[str], environment: Mapping[str, str]) -> list[str] | None:
    """Return the `dbt ls` that lists what a command of any verb looks at, one line each.

    None where it selects no nodes, or by what only its run has: the state of another one.
    """
    found = parse(args)
    kinds = KINDS.get(found.verb) or _LOOKED_AT.get(found.verb)
    is_compared = {"--state", "--defer-state", "--inline"} & {word.name for word in found.words}
    if not kinds or is_compared or variable(environment, "STATE"):
        return None
    given = [kind for name in found.all("--resource-type") or ["all"] for kind in _expanded(name, kinds)]
    chosen = found.only(_SELECTION | PARSING | {"--exclude-resource-type"})
    return ["ls", *chosen.written(), "--output", "selector", "--resource-type", *given]


def text(args: Sequence[str]) -> str:
    """Return the command as a person types it.

    >>> text(["build", "--vars", "{day: 1}"])
    "dbt build --vars '{day: 1}'"
    """
    return shlex.join(("dbt", *args))


def _expanded(kind: str, kinds: Sequence[str]) -> Sequence[str]:
    return kinds if kind in ("all", "default") else (kind,)


def _around_verb(found: Arguments) -> tuple[list[str], str, list[str]]:
    place = next(i for i, word in enumerate(found.words) if not word.name)
    before, after = Arguments(found.words[:place]), Arguments(found.words[place + 1 :])
    return before.written(), found.verb, after.written()


def _long(rest: list[str]) -> list[Word]:
    given, separator, value = rest.pop(0).partition("=")
    name = _ALIASES.get(given, given)
    if name in MULTIPLE:
        return [Word(name, _several(rest, given, value if separator else None))]
    if name in SINGLE and not separator:
        return [Word(name, (rest.pop(0),) if rest else ())]
    return [Word(name, (value,) if separator else ())] if name in SINGLE else [Word(given, ())]


def _short(rest: list[str]) -> list[Word]:
    word = rest.pop(0)
    if not word.startswith("-") or word == "-":
        return [Word("", (word,))]
    words: list[Word] = []
    letters = word[1:]
    while letters:
        given, letters = f"-{letters[0]}", letters[1:]
        name = _ALIASES.get(given, given)
        if name in MULTIPLE:
            return [*words, Word(name, _several(rest, given, letters or None))]
        if name in SINGLE:
            return [*words, Word(name, (letters,) if letters else (rest.pop(0),) if rest else ())]
        words.append(Word(name, ()))
    return words


def _several(rest: list[str], given: str, first: str | None) -> tuple[str, ...]:
    """Take what dbt's MultiOption takes: a text is split at blanks, and only select has a short form."""
    if first is None:
        first = rest.pop(0) if rest else ""
    values = first.split(" ")
    dash = "-" if _ALIASES.get(given, given) == "--select" else "--"
    while rest and not rest[0].startswith(dash):
        values.append(rest.pop(0))
    return tuple(values)
