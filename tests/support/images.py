"""A second image: the same, with a project that waits or fails on demand, and a shorter prefect.yaml.

What a model does depends on CASE, so that each run chooses by its job variables:
fails   broken.sql selects from a table that does not exist
waits   waiting.sql runs without end unless there is a file /data/gate; DuckDB stops it when dbt asks
pauses  pausing.py runs until there is a file /data/gate; only a kill stops it
hungry  hungry.sql takes all the memory it gets
litters littering.py leaves 150 MB in /tmp, and waits for the gate as pausing.py does
spills  spilling.sql sorts more than fits into little memory

A third one, in which `broken` is fixed, is for runs that continue after a fix.

The build's pauses between two tries are shorter than in our own flows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kube import IMAGE, REPO, command

TAG = "for-tests"
TEST_IMAGE = f"dbtpod-demo:{TAG}"
FIXED_IMAGE = f"{TEST_IMAGE}-fixed"
REMOVED = "dbt-fact-orders-full-refresh"
UNSCHEDULED = "dbt-smoke-hourly"

_FILES = {
    "Dockerfile": f"""
FROM {IMAGE}
COPY models dbt_project/models/for_tests
COPY prefect.yaml ./
USER root
RUN sed -i s/retry_delay_seconds=60/retry_delay_seconds=5/ flows/flows.py
RUN dbtpod bake
USER 10001:10001
""",
    "fixed/Dockerfile": f"""
FROM {TEST_IMAGE}
COPY broken.sql dbt_project/models/for_tests/
USER root
RUN dbtpod bake
USER 10001:10001
""",
    "fixed/broken.sql": "select 1 as id",
    "models/broken.sql": """
select * from {{ 'no_such_table' if env_var('CASE', '') == 'fails' else '(values (1)) as one(id)' }}
""",
    "models/waiting.sql": """
{% set closed = env_var('CASE', '') == 'waits' and execute and not run_query("from glob('/data/gate')").rows %}
{{ config(materialized='table') }}
select count(*) as n from range({{ 10 ** 12 if closed else 1 }}) a, range({{ 1000000 if closed else 1 }}) b
where a.range * b.range = 7
""",
    "models/pausing.py": """
import os, time

def model(dbt, session):
    while os.environ.get("CASE") == "pauses" and not os.path.exists("/data/gate"):
        time.sleep(0.1)
    return session.sql("select 1 as id")
""",
    "models/littering.py": """
import os, pathlib, time

def model(dbt, session):
    if os.environ.get("CASE") == "litters":
        pathlib.Path("/tmp/litter").write_bytes(os.urandom(150 * 2**20))
    while os.environ.get("CASE") == "litters" and not os.path.exists("/data/gate"):
        time.sleep(0.1)
    return session.sql("select 1 as id")
""",
    "models/spilling.sql": """
{{ config(materialized='table') }}
select i, repeat('x', 100) || i as text, random() as place
from range({{ 10 ** 7 if env_var('CASE', '') == 'spills' else 1 }}) as many(i) order by place
""",
    "models/hungry.sql": """
{{ config(materialized='table') }}
select len(list(range)) as n from range({{ 10 ** 9 if env_var('CASE', '') == 'hungry' else 1 }})
""",
}


def build(folder: Path) -> None:
    """Build the image as a user does, and the others on top of it."""
    command("make", "image", f"IMAGE={IMAGE}", seconds=580)
    for part in ("models", "fixed"):
        (folder / part).mkdir()
    for name, text in _FILES.items():
        (folder / name).write_text(text.lstrip())
    (folder / "prefect.yaml").write_text(yaml.safe_dump(shortened(), sort_keys=False))
    for tag, context in ((TEST_IMAGE, folder), (FIXED_IMAGE, folder / "fixed")):
        command("docker", "build", "--tag", tag, str(context), seconds=300, DOCKER_BUILDKIT="1")


def variant(folder: Path, name: str, files: Mapping[str, str], *, without: Sequence[str] = ()) -> str:
    """Build an image with other files, each by its path in /opt/dbtpod, and without some of its own; its name."""
    image = f"{IMAGE}-{name}"
    removed = f"RUN rm -rf {' '.join(without)}\n" if without else ""
    dockerfile = f"FROM {IMAGE}\nUSER root\n{removed}COPY files ./\nRUN dbtpod bake\nUSER 10001:10001\n"
    for path, text in {"Dockerfile": dockerfile, **{f"files/{path}": text for path, text in files.items()}}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text.lstrip())
    command("docker", "build", "--tag", image, str(folder), seconds=300, DOCKER_BUILDKIT="1")
    return image


def shortened() -> dict[str, Any]:
    """prefect.yaml without one deployment and without one schedule."""
    file: dict[str, Any] = yaml.safe_load((REPO / "prefect.yaml").read_text())
    file["deployments"] = [each for each in file["deployments"] if each["name"] != REMOVED]
    for each in file["deployments"]:
        if each["name"] == UNSCHEDULED:
            del each["schedules"]
    return file


def case(name: str) -> dict[str, Any]:
    """The job variables of a run whose project does this."""
    return {"image": TEST_IMAGE, "env": {"CASE": name}}
