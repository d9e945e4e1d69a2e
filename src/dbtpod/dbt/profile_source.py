"""The user's own profile: which file has it, as dbt would look for it; or one that is made where there is none."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dbtpod.dbt import arguments, yaml_file
from dbtpod.dbt.project import CATALOG, DUCKDB, MADE
from dbtpod.dbt.rendering import Renderer, VariableMissing, variable

# The key of profiles.yml that is no profile.
CONFIG = "config"
_FILE = "profiles.yml"
_NOT_THEIRS = {"dbt_packages", "target", "node_modules", ".venv", MADE}


class Unusable(Exception):
    """The profile cannot be used; the text says which file, what is wrong, and what to do."""


@dataclass(frozen=True)
class Source:
    """The profile of a project as its user wrote it."""

    name: str
    # All profiles of the file; those of other projects are left out.
    profiles: Mapping[str, Any]
    # None: it is made.
    file: Path | None
    # Whether dbt_project.yml names it.
    is_named: bool
    notes: list[str] = field(default_factory=list)

    @property
    def profile(self) -> Any:
        """The one that is used."""
        return self.profiles[self.name]


def find(folder: Path, environment: Mapping[str, str], here: Path) -> Source:
    """Find the profile of the project in the folder, for a dbt that is started in `here`; Unusable says why not."""
    settings = _mapping(folder / "dbt_project.yml")
    of_repository = chosen(folder, environment, here) or _beside(folder, here)
    is_everybodys = of_repository is None
    file = of_repository or Path(environment.get("HOME", "/")) / ".dbt" / _FILE
    profiles = _mapping(file) if file.is_file() else {}
    name = _name(folder, settings, environment, profiles)
    is_named = bool(settings.get("profile"))
    if name in profiles:
        notes = [_everybodys(file)] if is_everybodys else []
        # What else is in a person's own file is not this project's.
        kept = {key: profiles[key] for key in profiles if key in (name, CONFIG) or not is_everybodys}
        return Source(name, kept, file, is_named, notes)
    if not is_everybodys:
        there = ", ".join(f"`{key}`" for key in profiles if key != CONFIG) or "none"
        raise Unusable(
            f"{file}: there is no profile `{name}` in it, which dbt_project.yml names; it has {there}. Name one of "
            f"them in dbt_project.yml, or add `{name}`."
        )
    return Source(name, {name: _new()}, None, is_named, [_made(folder, name)])


def chosen(folder: Path, environment: Mapping[str, str], here: Path) -> Path | None:
    """Return the profiles.yml of DBT_PROFILES_DIR; None where that is not set, Unusable where there is none."""
    given = arguments.variable(environment, "PROFILES_DIR")
    if not given:
        return None
    for place in (here, folder):
        if (place / given / _FILE).is_file():
            return place / given / _FILE
    raise Unusable(
        f"DBT_PROFILES_DIR is {given!r}: there is no {_FILE} in it. Set it to the folder that has one, or unset it."
    )


def _beside(folder: Path, here: Path) -> Path | None:
    return next((place / _FILE for place in (folder, here) if (place / _FILE).is_file()), None)


def _mapping(file: Path) -> Mapping[str, Any]:
    try:
        found = yaml_file.read(file)
    except FileNotFoundError:
        raise Unusable(f"{file} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{file} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise Unusable(f"{file} is not valid YAML: {error}") from error
    if not isinstance(found, dict) or not found:
        raise Unusable(f"{file} {'has no keys' if found else 'is empty'}: dbt cannot use it.")
    return found


def _name(
    folder: Path, settings: Mapping[str, Any], environment: Mapping[str, str], profiles: Mapping[str, Any]
) -> str:
    text = arguments.variable(environment, "PROFILE") or settings.get("profile")
    there = [str(key) for key, found in profiles.items() if isinstance(found, dict) and "outputs" in found]
    if not text:
        # dbt wants it named; `process.environment` does.
        return there[0] if len(there) == 1 else str(settings.get("name") or "dbtpod")
    try:
        return Renderer(environment)(text)
    except VariableMissing as missing:
        if len(there) == 1 and variable(text):
            return there[0]
        raise Unusable(
            f"{folder / 'dbt_project.yml'}: its profile is {text!r}, and {missing} has no value here. Set {missing}, "
            f"or give it a default: {{{{ env_var('{missing}', 'the usual one') }}}}."
        ) from None
    except Exception as error:
        raise Unusable(f"{folder / 'dbt_project.yml'}: its profile is {text!r}, and {error}.") from error


def _new() -> dict[str, Any]:
    output = {"type": DUCKDB, "path": f"{CATALOG}.duckdb", "threads": 4}
    return {"target": "dev", "outputs": {"dev": output}}


def _made(folder: Path, name: str) -> str:
    others = [str(path.relative_to(folder)) for path in _elsewhere(folder)]
    hint = f" If it is {' or '.join(others)}, set DBT_PROFILES_DIR to that folder." if others else ""
    return (
        f"There is no profile `{name}` for {folder}: one is made, of type duckdb, with the target `dev`, the schema "
        f"`main` and 4 threads. For another one, put a {_FILE} beside dbt_project.yml.{hint}"
    )


def _everybodys(file: Path) -> str:
    return (
        f"The profile is that of {file}, as the repository has none. An image is built without that folder: copy the "
        "profile to a profiles.yml beside dbt_project.yml."
    )


def _elsewhere(folder: Path) -> Iterator[Path]:
    for pattern in (f"*/{_FILE}", f"*/*/{_FILE}"):
        yield from (path for path in sorted(folder.glob(pattern)) if not _NOT_THEIRS & set(path.parts))
