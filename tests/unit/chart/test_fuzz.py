"""What values, releases and namespaces lead to: refused by name, or rendered as they were meant; nothing is in between.

A render takes half a second, and helm says all that it refuses at once: rows that set different values share a render,
and a row that is not met there is rendered alone.
"""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from rendered import environment, flow_run_job
from rendering import Manifest, helm_template, manifests_of

pytestmark = pytest.mark.xdist_group("chart")

TABLE = yaml.safe_load((Path(__file__).parent / "values_table.yaml").read_text())
Done = CompletedProcess[str]


# --- the table ---


def settings_of(row: list[Any]) -> dict[str, Any]:
    """The values of a row by their dotted names."""
    beside = row[-1] if len(row) in (4, 6) else {}
    return {row[0]: row[1], **beside}


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for path, value in settings.items():
        *parents, last = path.split(".")
        node = values
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = value
    return values


def meet(one: str, other: str) -> bool:
    """Whether one value is a part of the other, or decides whether the other has an effect."""
    one, other = (re.sub(r"\.(enabled|existing\w+)$", "", each) for each in (one, other))
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def batches(section: str) -> list[dict[str, Any]]:
    """The settings of all rows, in as few sets as have no value twice."""
    found: list[dict[str, Any]] = []
    for row in TABLE[section]:
        settings = settings_of(row)
        for batch in found:
            # Without a server there is half a release.
            alone = "server.enabled" in settings | batch
            if not alone and not any(meet(one, other) for one in settings for other in batch):
                batch |= settings
                break
        else:
            found.append(settings)
    return found


@cache
def renders(section: str) -> list[tuple[dict[str, Any], Done]]:
    found = batches(section)
    with ThreadPoolExecutor(2) as threads:
        return list(zip(found, threads.map(lambda each: helm_template(nested(each)), found), strict=True))


def with_others(section: str, row: list[Any]) -> Done:
    settings = settings_of(row)
    return next(done for batch, done in renders(section) if settings.items() <= batch.items())


def rows(section: str) -> Any:
    names = [f"{row[0]}={row[1]}"[:80] for row in TABLE[section]]
    return pytest.mark.parametrize("row", TABLE[section], ids=names)


def test_the_table_has_every_kind_of_outcome() -> None:
    assert len(TABLE["schema"]) > 100
    assert len(TABLE["check"]) > 50
    assert len(TABLE["accepted"]) > 40
    assert len(renders("schema")) + len(renders("check")) + len(renders("accepted")) < 80


# --- refused ---


@rows("schema")
def test_a_value_that_is_wrong_by_itself_is_refused_by_its_path(row: list[Any]) -> None:
    done = with_others("schema", row)
    if row[2] not in done.stderr:
        done = helm_template(nested(settings_of(row)))

    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr
    assert row[2] in done.stderr


@rows("check")
def test_a_value_that_is_wrong_beside_the_others_is_refused_with_the_reason(row: list[Any]) -> None:
    done = with_others("check", row)
    if row[2] not in done.stderr:
        done = helm_template(nested(settings_of(row)))

    assert done.returncode != 0
    assert "These values cannot work:" in done.stderr
    assert row[2] in done.stderr


# --- accepted ---


@rows("accepted")
def test_a_value_is_rendered_as_it_was_meant(row: list[Any]) -> None:
    _, _, where, place, expected, *_ = row
    done = with_others("accepted", row)
    # SQLite's volume is not there with the others' PostgreSQL.
    if done.returncode != 0 or where == "PersistentVolumeClaim/server":
        done = helm_template(nested(settings_of(row)))
    assert done.returncode == 0, done.stderr

    assert look(object_of(manifests_of(done), where), place.split(".")) == expected


def object_of(manifests: list[Manifest], where: str) -> Any:
    """A pod of ours, the flow run's Job, or an object by its kind and component."""
    match where:
        case "run":
            return flow_run_job(manifests)["spec"]["template"]["spec"]
        case "run job":
            return flow_run_job(manifests)["spec"]
        case "run metadata":
            return flow_run_job(manifests)["spec"]["template"]["metadata"]
        case "server" | "worker" | "register" | "reader":
            kind = "Job" if where == "register" else "Deployment"
            return next(found(manifests, kind, where))["spec"]["template"]["spec"]
        case _:
            return next(found(manifests, *where.split("/")))


def found(manifests: list[Manifest], kind: str, component: str) -> Iterator[Manifest]:
    for each in manifests:
        of = each["metadata"].get("labels", {}).get("app.kubernetes.io/component", "")
        if each["kind"] == kind and of == component:
            yield each


def look(node: Any, place: list[str]) -> Any:
    """What is at that place; a key may have dots itself, and variables are found by their names."""
    if not place:
        return node
    if isinstance(node, list):
        return look(node[int(place[0])], place[1:])
    for length in range(len(place), 0, -1):
        key = ".".join(place[:length])
        if key in node:
            child = environment(node) if key == "env" else node[key]
            return look(child, place[length:])
    return None


# --- names ---


@pytest.mark.parametrize(
    ("release", "namespace", "values", "stem"), TABLE["names"], ids=[str(row[:2]) for row in TABLE["names"]]
)
def test_a_release_and_a_namespace_of_any_name_work(release: str, namespace: str, values: Any, stem: str) -> None:
    done = helm_template(values, release=release, namespace=namespace)
    assert done.returncode == 0, done.stderr
    manifests = manifests_of(done)

    for each in [*manifests, flow_run_job(manifests)]:
        metadata = each["metadata"]
        name = metadata.get("name", stem)
        assert name.startswith(stem)
        # As a Service is named.
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name), name
        assert metadata["namespace"] == namespace
        assert metadata["labels"]["app.kubernetes.io/instance"] == release
        assert [key for key, value in metadata["labels"].items() if not isinstance(value, str)] == []


def test_releases_whose_names_agree_for_long_have_objects_of_their_own() -> None:
    stems = [stem for *_, stem in TABLE["names"]]

    assert len(stems) == len(set(stems))
