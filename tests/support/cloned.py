"""Repositories of users as they are cloned, one for each thing that stood in the way of somebody's own project.

Each has a full table, a test, and what its name says. `shared` is a git repository that one of them has a package from.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from own_projects import Files, project, write

TABLES = "models: {+materialized: table}\n"
PROFILE = """
shop:
  target: dev
  outputs:
    dev: {{type: duckdb, path: {path}, threads: 2}}
"""
MODELS: Files = {
    "seeds/raw_orders.csv": "id,amount\n1,10\n2,20\n3,30\n",
    "models/stg_orders.sql": "select id, amount from {{ ref('raw_orders') }}",
    "models/orders.sql": "select id, amount * 2 as doubled from {{ ref('stg_orders') }}",
    "models/orders.yml": "models: [{name: orders, columns: [{name: id, data_tests: [unique, not_null]}]}]\n",
}
SHARED: Files = {
    "dbt_project.yml": "name: shared\nversion: '1.0'\nmacro-paths: [macros]\n",
    "macros/twice.sql": "{% macro twice(value) %}({{ value }} * 2){% endmacro %}",
}
# Where the image has the repository, and so the shared one below it.
_SHARED_IN_IMAGE = "file:///opt/dbtpod/vendor/shared.git"


def _at(path: str, settings: str = "", **models: str) -> Files:
    return {
        "dbt_project.yml": project(settings=TABLES + settings),
        "profiles.yml": PROFILE.format(path=path),
        **MODELS,
        **{f"models/{name.replace('__', '/')}.sql": text for name, text in models.items()},
    }


def _below(folder: str, files: Files) -> Files:
    return {f"{folder}/{path}": text for path, text in files.items()}


CLONED: Mapping[str, Files] = {
    "a profile as cloned": _at("shop.duckdb"),
    "SQL that names its catalog": _at(
        "data/gold.dev.duckdb", named="select count(*) as n from gold.main.orders -- {{ ref('orders') }}"
    ),
    "a project in a subfolder": {
        **_below("transform", _at("../warehouse.duckdb")),
        "app/main.py": "print('another part of the repository')\n",
    },
    "packages that are committed": {
        **_at("shop.duckdb", twice="select {{ shared.twice('id') }} as id from {{ ref('orders') }}"),
        "packages.yml": "packages: [{git: 'https://git.invalid/shared.git', revision: v1}]\n",
        **_below("dbt_packages/shared", SHARED),
    },
    "a package from git": {
        **_at("shop.duckdb", twice="select {{ shared.twice('id') }} as id from {{ ref('orders') }}"),
        "packages.yml": "packages: [{git: \"{{ env_var('SHARED', '" + _SHARED_IN_IMAGE + "') }}\", revision: v1}]\n",
    },
    "logs and target inside models": _at(
        "shop.duckdb",
        logs__events="select id from {{ ref('orders') }}",
        marts__target__sales="select sum(doubled) as total from {{ ref('orders') }}",
    ),
    "a python model with pandas": {
        **_at("shop.duckdb"),
        "models/means.py": (
            "import pandas as pd\n\n\ndef model(dbt, session):\n"
            "    frame = dbt.ref('orders').df()\n"
            "    return pd.DataFrame({'mean': [float(frame.doubled.mean())]})\n"
        ),
    },
    "snapshots and an absolute path": {
        **_at("/var/lib/shop/shop.duckdb"),
        "snapshots/orders.yml": (
            "snapshots: [{name: orders_history, relation: ref('orders'),"
            " config: {strategy: check, check_cols: all, unique_key: id}}]\n"
        ),
    },
    "no profile": {key: text for key, text in _at("").items() if key != "profiles.yml"},
}


def clone(folder: Path, name: str) -> Path:
    """Write the repository into a folder, committed, with what it needs beside it."""
    write(folder, CLONED[name])
    (folder / ".gitignore").write_text("target/\nlogs/\n!models/**/\n*.duckdb\n")
    if name == "a package from git":
        _share(folder / "vendor" / "shared.git")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "As cloned")
    return folder


def _share(bare: Path) -> None:
    source = write(bare.with_suffix(".source"), SHARED)
    git(source, "init", "-q", "-b", "main")
    git(source, "add", "-A")
    git(source, "commit", "-q", "-m", "A package")
    git(source, "tag", "v1")
    subprocess.run(["git", "clone", "-q", "--bare", str(source), str(bare)], check=True)
    subprocess.run(["rm", "-rf", str(source)], check=True)


def git(folder: Path, *words: str) -> None:
    """Run git there, as somebody."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)
