"""What `dbtpod bake` does while an image is built, so that its pods begin without parsing.

The profile that runs use is made of the user's own (`dbt.effective_profile`). dbt parses the project for each of its
targets, as a run that writes and as one that only reads (`baked_target`); what it parsed lies with the project
(`dbt.parse_state`), and so does what it compiled, for the preloaded dbt (`faststart.precompiled`).
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from dbtpod import settings
from dbtpod.baked_target import BakedTarget, Parser
from dbtpod.dbt import effective_profile, kinds, packages, profile, yaml_file
from dbtpod.dbt.project import CATALOG, DUCKDB, MADE, READER, WRITER, Facts, Project, find
from dbtpod.dbt.rendering import Renderer, VariableMissing, variable
from dbtpod.faststart import precompiled
from dbtpod.warehouse import warehouse

# The cache mount of a Dockerfile. What dbt compiles lies there for the next bake, which compiles only what has changed:
# by its text alone, so that gives what compiling all anew does.
CACHE = Path("/var/cache/dbtpod")


def bake(environment: Mapping[str, str], say: Callable[[str], None], cache: Path = CACHE) -> None:
    """Make the profile and parse the project; `say` gets what a user should know.

    A folder `cache`, where there is one, makes the next bake faster.
    SettingsError has all problems of the profile, DbtUnusable dbt's own lines where it cannot parse.
    """
    environment = {**environment, **kinds.of_values(Path.cwd(), environment)}
    folder = find(environment, Path.cwd())
    made = effective_profile.write(folder, environment)
    for note in [*made.notes, *_other_file(made.facts, environment)]:
        say(note)
    _remove_others(folder, made.facts)
    if done := _install_packages(environment):
        say(done)
    with ThreadPoolExecutor() as side_by_side:
        kept = cache / "compiled.marshal"
        lanes = [_targets(folder, made.facts, environment, only_reads, kept) for only_reads in (False, True)]
        found = [line for lines in side_by_side.map(_bake, lanes) for line in lines]
    _keep(precompiled.path(folder), kept)
    # Most are the same for both kinds of run.
    for line in dict.fromkeys(found):
        say(line)
    say(f"Baked {folder}: profile `{made.facts.profile}`, target {', '.join(made.facts.targets)}.")


def _install_packages(environment: Mapping[str, str]) -> str:
    project = warehouse.project(settings.from_environment(environment))
    # What the image has; a project elsewhere is not for an image.
    root = Path.cwd() if project.folder.is_relative_to(Path.cwd()) else project.folder
    with tempfile.TemporaryDirectory() as folder:
        return packages.install(project, root, Path(folder))


def _bake(targets: Iterable[BakedTarget]) -> list[str]:
    with closing(Parser()) as parser:
        return [line for target in targets for line in target.bake(parser)]


def _keep(compiled: Path, kept: Path) -> None:
    """Have what was compiled where the next bake looks for it; a cache that cannot be written keeps nothing."""
    if kept.parent.is_dir() and compiled.is_file():
        with suppress(OSError):
            # Another build may be reading it.
            fresh = kept.with_name(f".{kept.name}.{os.getpid()}")
            shutil.copyfile(compiled, fresh)
            fresh.replace(kept)


def _targets(
    folder: Path, facts: Facts, environment: Mapping[str, str], only_reads: bool, known: Path
) -> Iterator[BakedTarget]:
    """Yield the targets, the default one first: what is compiled has to be compiled by a new process."""
    default = facts.default(environment)
    for name in sorted(facts.targets, key=lambda name: name != default):
        keeps = precompiled.path(folder) if name == default and not only_reads else None
        project = _project(environment, name, only_reads)
        yield BakedTarget(project, name, _of_pod(folder, facts, name, environment), keeps, known)


def _other_file(facts: Facts, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield what DUCKDB_PATH means for SQL that names its catalog."""
    given = environment.get("DUCKDB_PATH")
    for name, target in facts.targets.items():
        if given and target.adapter == DUCKDB and target.catalog not in (CATALOG, profile.catalog(given)):
            yield (
                f"DUCKDB_PATH is {given!r}, and target `{name}` builds `{target.catalog}`: SQL that names that catalog "
                "fails. Set DBTPOD_VOLUME in place of DUCKDB_PATH, and the file has that name."
            )


def _of_pod(folder: Path, facts: Facts, target: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a pod with that target: dbt_project.yml may read the variables that choose it too."""
    chosen = dict(environment)
    try:
        Renderer(environment)(yaml_file.read(folder / "dbt_project.yml").get("profile"))
    except VariableMissing as missing:
        chosen[str(missing)] = facts.profile
    if target != facts.default(environment):
        chosen[variable(facts.target) or "DBT_TARGET"] = target
    return chosen


def _project(environment: Mapping[str, str], target: str, only_reads: bool) -> Project:
    """Return the project as a pod with that target has it: the DuckDB file has the name that the target gives it."""
    given = {name: value for name, value in environment.items() if name != "DBT_ENGINE_TARGET"}
    project = warehouse.project(settings.from_environment(given | {"DBT_TARGET": target}))
    return replace(project, only_reads=only_reads)


def _remove_others(folder: Path, facts: Facts) -> None:
    """Remove the states of targets that the profile has no more."""
    for kind in (WRITER, READER):
        for path in (folder / MADE / kind).glob("*/"):
            if path.name not in facts.targets:
                shutil.rmtree(path)
