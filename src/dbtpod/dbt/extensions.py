"""DuckDB's extensions that are installed as Python packages, for a pod that downloads nothing.

An extension is for one version of DuckDB exactly. The packages `duckdb-extension-ducklake` and so on have them, each
with its file in `extensions/v1.5.5/`; DuckDB looks for them in a folder of its own, which is made of links here.
"""

import os
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import duckdb

from dbtpod.errors import SettingsError

OF_DUCKLAKE = ("ducklake", "postgres_scanner", "httpfs")


def settings() -> dict[str, str]:
    """Return what DuckDB is opened with, so that it finds them and looks nowhere else; SettingsError names the missing.

    For a DuckLake: its own, PostgreSQL's and that of S3.
    """
    files = {name: _file(name) for name in OF_DUCKLAKE}
    if missing := [name for name, file in files.items() if file is None]:
        version = duckdb.__version__
        packages = " ".join(f"duckdb-extension-{name.replace('_', '-')}=={version}" for name in missing)
        raise SettingsError(
            f"DuckDB {version} has no extension {', '.join(missing)} here, which warehouse.kind ducklake needs, and a "
            f"pod downloads none: use the image that is built with them (docs/growth.md), or install {packages}. If "
            "there is no such version, the image has to have an older DuckDB."
        )
    folder = _folder()
    for file in files.values():
        assert file is not None  # noqa: S101
        link = folder / file.name
        # Another process may be at it.
        with suppress(FileExistsError):
            link.symlink_to(file)
    return {"extension_directory": str(folder.parents[1]), "autoinstall_known_extensions": "false"}


def _file(name: str) -> Path | None:
    spec = find_spec(f"duckdb_extension_{name}")
    places = spec.submodule_search_locations if spec else None
    folder = Path(next(iter(places))) / "extensions" / f"v{duckdb.__version__}" if places else None
    file = folder / f"{name}.duckdb_extension" if folder else None
    return file if file and file.is_file() else None


def _folder() -> Path:
    """Make the folder as DuckDB wants it, with its version and platform; one that is another user's is not used."""
    root = Path(tempfile.gettempdir()) / f"dbtpod-extensions-{os.getuid()}"
    with suppress(FileExistsError):
        root.mkdir(mode=0o700)
    if root.is_symlink() or root.stat().st_uid != os.getuid():
        root = Path(tempfile.mkdtemp(prefix="dbtpod-extensions-"))
    [[platform]] = duckdb.connect().execute("PRAGMA platform").fetchall()
    folder = root / f"v{duckdb.__version__}" / str(platform)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
