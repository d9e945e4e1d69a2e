"""What commands select in the project that dbt has parsed: a selector, a node or a macro that is not there is named."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dbtpod import selection
from dbtpod.check.finding import Finding
from dbtpod.dbt import arguments
from dbtpod.dbt.inspection import Answers, Lookup, Parse
from dbtpod.dbt.names import Names
from dbtpod.registration import commands
from dbtpod.registration.entrypoints import did_you_mean


@dataclass(frozen=True)
class Use:
    """A command where it stands."""

    words: tuple[str, ...]
    file: Path
    line: int
    # Who gives it, such as `deployment 'daily': parameters.commands[0] is`.
    subject: str
    # The lines of the names in it, where they are not in that line.
    lines: Mapping[str, int] = field(default_factory=dict)
    # Whether its run fails where a name is not there.
    has_to_match: bool = False

    def finding(self, text: str, *, is_warning: bool = False, name: str | None = None) -> Finding:
        """Say something about it, or about a name in it."""
        line = self.lines.get(name or "", self.line)
        return Finding(self.file, line, f"{self.subject} {commands.shown(self.words)!r}: {text}", is_warning)


def findings(uses: Iterable[Use], answers: Answers) -> Iterator[Finding]:
    """Yield what is wrong with the commands that dbt's command line takes."""
    if not answers.parses or answers.parses[()].errors:
        return
    for use in uses:
        parse = answers.parses[use.words]
        if use.words in answers.refusals:
            continue
        if parse.errors:
            yield use.finding(f"dbt cannot parse the project with it.\n{parse.errors[0]}")
        elif wrong := _unknown(use, parse):
            yield use.finding(wrong, name=arguments.parse(use.words).last("--selector"))
        elif lookup := answers.lookups.get(use.words):
            yield from _selected(use, lookup, parse.names)


def _unknown(use: Use, parse: Parse) -> str | None:
    """Name the selector or the macro that the project does not have."""
    given = arguments.parse(use.words)
    if wrong := selection.unknown_selector(given, parse.names):
        return wrong
    if given.verb == "run-operation":
        macro = given.places[1] if len(given.places) > 1 else None
        if macro is None:
            return "it needs the name of a macro"
        if macro not in parse.names["macros"]:
            return f"there is no macro {macro!r}{did_you_mean(macro, parse.names['macros'])}"
    return None


def _selected(use: Use, lookup: Lookup, names: Names) -> Iterator[Finding]:
    if lookup.errors:
        yield use.finding(lookup.errors[0])
        return
    near = [selection.meant(criterion, names) for criterion in lookup.unmatched]
    if use.has_to_match:
        yield from _missing(use, lookup, names)
    elif not lookup.listed:
        yield use.finding(f"it selects nothing, and so does nothing{next(filter(None, near), '')}", is_warning=True)
    elif arguments.parse(use.words).verb == "source" and not set(lookup.listed) & set(names["fresh"]):
        yield use.finding("none of its sources has `freshness`, so it checks nothing", is_warning=True)
    else:
        for criterion, meant in zip(lookup.unmatched, near, strict=True):
            yield use.finding(f"{criterion!r} of it matches nothing{meant}", is_warning=True)


def _missing(use: Use, lookup: Lookup, names: Names) -> Iterator[Finding]:
    """Say what keeps a run from starting."""
    for criterion in lookup.unmatched:
        yield use.finding(selection.unmatched(criterion, names), name=criterion)
    if not lookup.unmatched and not lookup.listed:
        yield use.finding(selection.nothing(use.words))
