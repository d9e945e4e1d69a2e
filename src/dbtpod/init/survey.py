"""What the templates have to know of a dbt project, read from its files: it takes neither dbt nor a profile."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from dbtpod.dbt import kinds, lake, profile_source, project
from dbtpod.dbt.yaml_file import load, mappings
from dbtpod.errors import SettingsError
from dbtpod.init import git, sources
from dbtpod.init.python_models import Imports, imports

# Where dbt looks for each kind of file; a source may be described beside any of them.
_FOLDERS = {
    "model-paths": ("models",),
    "seed-paths": ("seeds",),
    "snapshot-paths": ("snapshots",),
    "analysis-paths": ("analyses",),
    "macro-paths": ("macros",),
    "test-paths": ("tests",),
}
SMOKE = "smoke"
# Where a server listens whose profile names no port, as dbt-postgres and dbt-redshift have it.
_PORTS = {"postgres": 5432, "redshift": 5439}
_HTTPS = 443


@dataclass(frozen=True)
class DatabaseServer:
    """Where the profile's default target builds, if that is no DuckDB file."""

    adapter: str
    # None where the profile has none, or a variable that is not set.
    port: int | None

    @property
    def kind(self) -> str:
        """The warehouse.kind that it needs."""
        return kinds.needed(self.adapter)

    @property
    def ports(self) -> list[int]:
        """What runs have to reach; of a DuckLake the files too, which are on S3 most often."""
        return [] if self.port is None else [self.port, *([_HTTPS] if self.kind == kinds.DUCKLAKE else [])]


@dataclass(frozen=True)
class Survey:
    """A dbt project as it lies in a repository."""

    name: str
    # Its folder in the repository: "." or such as "transform".
    folder: PurePosixPath
    # False where the repository has several, and DBT_PROJECT_DIR said which.
    is_only: bool
    # What dbt leaves behind, by its place in the repository: target, logs, and packages that are not committed.
    leftovers: tuple[PurePosixPath, ...]
    # The folder of packages where it is committed, and inside of a leftover.
    packages: PurePosixPath | None
    has_git_packages: bool
    has_seeds: bool
    has_freshness: bool
    has_smoke_selector: bool
    python_models: Imports
    # None: it builds in a DuckDB file.
    server: DatabaseServer | None


def of(repository: Path, environment: Mapping[str, str]) -> Survey:
    """Look at the dbt project of a repository; SettingsError says what cannot be read or would not be in an image."""
    repository = repository.resolve()
    folder = project.find(environment, repository).resolve()
    if not folder.is_relative_to(repository):
        raise SettingsError(
            f"DBT_PROJECT_DIR is {str(folder)!r}, which is not in {repository}: give `dbtpod init` a folder that "
            "holds it."
        )
    if not str(folder.relative_to(repository)).isprintable():
        raise SettingsError(f"The dbt project is in {str(folder)!r}, which no Dockerfile can name: rename the folder.")
    _check_local_packages(folder, repository)
    settings = _read(folder / "dbt_project.yml")
    folders = {key: _texts(settings.get(key), default) for key, default in _FOLDERS.items()}
    models = [folder / name for name in folders["model-paths"]]
    described = [folder / name for names in folders.values() for name in names]
    leftovers = [
        _inside(repository, folder, _text(settings.get(key), default))
        for key, default in (("target-path", "target"), ("log-path", "logs"))
    ]
    packages = _inside(repository, folder, _text(settings.get("packages-install-path"), "dbt_packages"))
    if packages and git.leaves_out(repository / packages):
        leftovers.append(packages)
        packages = None
    return Survey(
        name=_text(settings.get("name"), ""),
        folder=PurePosixPath(folder.relative_to(repository).as_posix()),
        is_only=_is_only(repository, folder),
        leftovers=tuple(dict.fromkeys(path for path in leftovers if path)),
        packages=packages if packages and {packages, *packages.parents} & {*leftovers} else None,
        has_git_packages=_has_git_packages(folder),
        has_seeds=any(_files([folder / name for name in folders["seed-paths"]], ".csv")),
        has_freshness=sources.have_freshness(_files(described, ".yml", ".yaml"), settings),
        has_smoke_selector=_has_selector(folder, SMOKE),
        python_models=imports(_files(models, ".py")),
        server=_server(folder, repository),
    )


def _is_only(repository: Path, folder: Path) -> bool:
    try:
        return project.find({}, repository).resolve() == folder
    except SettingsError:
        return False


def _check_local_packages(folder: Path, repository: Path) -> None:
    for package in project.local_packages(folder):
        if not package.is_relative_to(repository):
            above = Path(os.path.commonpath([package, repository]))
            raise SettingsError(
                f"The dbt project takes a package from {package}, which lies outside of {repository} and so would not "
                f"be in the image. Go to {above} and run: "
                f"DBT_PROJECT_DIR={folder.relative_to(above).as_posix()!r} dbtpod init"
            )


def _has_git_packages(folder: Path) -> bool:
    texts = (load(folder / name) for name in ("packages.yml", "dependencies.yml") if (folder / name).is_file())
    return any("git" in entry for text in texts for entry in mappings(text, "packages"))


def _has_selector(folder: Path, name: str) -> bool:
    return any(each.get("name") == name for each in mappings(load(folder / "selectors.yml"), "selectors"))


def _server(folder: Path, repository: Path) -> DatabaseServer | None:
    """Return the server of the default target of a profile in the repository; what is wrong there, `check` says."""
    try:
        found = profile_source.find(folder, {}, repository).profile
    except profile_source.Unusable:
        return None
    outputs = found.get("outputs") if isinstance(found, dict) else None
    target = outputs.get(_text(found.get("target"), "default")) if isinstance(outputs, dict) else None
    if not isinstance(target, dict):
        return None
    adapter, port = _text(target.get("type"), project.DUCKDB), target.get("port")
    if adapter == project.DUCKDB and (attached := lake.attached(target)):
        return DatabaseServer(project.DUCKLAKE, lake.port(str(attached.get("path", ""))))
    if kinds.needed(adapter) == kinds.FILE:
        return None
    named = str(port) if isinstance(port, int) else _text(port, "")
    return DatabaseServer(adapter, int(named) if named.isdigit() else _PORTS.get(adapter))


# ---- paths


def _inside(repository: Path, folder: Path, path: str) -> PurePosixPath | None:
    """Return a path of dbt_project.yml in the repository; None where it lies outside, or holds the project itself."""
    whole = Path(os.path.normpath(folder / path))
    if not whole.is_relative_to(repository) or folder.is_relative_to(whole):
        return None
    return PurePosixPath(whole.relative_to(repository).as_posix())


def _files(folders: list[Path], *endings: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in sorted(folder.rglob("*")) if path.suffix in endings and path.is_file())


# ---- dbt_project.yml


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise SettingsError(f"{file} has no `name`: is it the file of a dbt project?")
    return content


def _texts(value: Any, default: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_text(each, ".") for each in value) if isinstance(value, list) else default


def _text(value: Any, default: str) -> str:
    """Render a value as dbt does where no variable is set: the files that are written are the same on each machine."""
    if not isinstance(value, str) or "{" not in value:
        return value if isinstance(value, str) and value else default
    template = SandboxedEnvironment(undefined=StrictUndefined).from_string(value)
    try:
        return template.render(env_var=_default, var=_default) or default
    except (TemplateError, TypeError, ValueError):
        return default


def _default(name: str, default: str) -> str:
    return default
