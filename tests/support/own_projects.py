"""Small dbt projects of users, as they are cloned: each path with its text."""

from collections.abc import Mapping
from pathlib import Path

Files = Mapping[str, str]

FRESH = """
sources:
  - name: raw
    tables:
      - name: orders
        loaded_at_field: loaded_at
        freshness:
          warn_after: {count: 1, period: day}
"""


def project(name: str = "shop", settings: str = "") -> str:
    """The text of a dbt_project.yml."""
    return f"name: {name}\nprofile: {name}\n{settings}"


AT_THE_ROOT: Files = {"dbt_project.yml": project(), "models/orders.sql": "select 1 as id"}

# Each kind of repository that `dbtpod init` meets.
REPOSITORIES: Mapping[str, Files] = {
    "at the root": AT_THE_ROOT,
    "in a subfolder": {"transform/dbt_project.yml": project(), "transform/models/orders.sql": "select 1 as id"},
    "a folder with blanks and signs": {"my shop #1 [old] $HOME's/dbt_project.yml": project()},
    "a name in Cyrillic": {"dbt_project.yml": project("Заказы")},
    "a name that begins with a digit": {"dbt_project.yml": project("_1st_shop")},
    "a name that is a boolean in YAML": {"dbt_project.yml": project("'on'")},
    "a long name": {"dbt_project.yml": project("shop_" * 30)},
    "sources with freshness": {**AT_THE_ROOT, "models/sources.yml": FRESH},
    "a selector named smoke": {
        **AT_THE_ROOT,
        "selectors.yml": "selectors: [{name: smoke, definition: 'tag:smoke'}]",
        "seeds/raw_orders.csv": "id\n1\n",
    },
    "python models": {
        **AT_THE_ROOT,
        "models/forecast.py": "import shop_rules\nfrom sklearn import linear_model\n\n"
        "def model(dbt, session):\n    return dbt.ref('orders').df()\n",
    },
    "packages from git": {
        **AT_THE_ROOT,
        "packages.yml": "packages: [{git: 'https://example.com/a.git', revision: v1}]",
    },
}


def write(folder: Path, files: Files) -> Path:
    """Write the files of a repository."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
