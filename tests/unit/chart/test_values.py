"""The values file is the manual: values, schema and templates name the same, and mistakes are refused."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from rendering import CHART, helm_template

pytestmark = pytest.mark.xdist_group("chart")


def leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in values.items():
        whole = f"{path}.{key}" if path else key
        # Free-form maps end here: what is in them is Kubernetes' own.
        if isinstance(value, dict) and value and key not in ("resources", "podSecurityContext"):
            yield from leaves(value, whole)
        else:
            yield whole


def test_the_cases_together_set_every_value() -> None:
    values = set(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))
    cases = [yaml.safe_load(each.read_text()) for each in (CHART / "ci").glob("*.yaml")]
    given = {path for case in cases for path in leaves(case)}

    assert {path for path in values if not any(each.startswith(path) for each in given)} == set()


def test_every_value_is_used_by_a_template_and_every_use_is_a_value() -> None:
    values = set(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))
    text = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    used = set(re.findall(r"\.Values\.([A-Za-z.]+[A-Za-z])", text))
    # Read through `with` or `range`: the parent is what the template names.
    parents = {"image", "prefect", "server.database", "server.ingress", "server.httpRoute", "networkPolicy.dns"}
    parents |= {"certificateAuthorities", "warehouse.egress"}
    # Of each component alike: by the helpers for all pods.
    pods = re.findall(r"[A-Za-z]+", (CHART / "templates" / "_pod.tpl").read_text())
    components = ("server", "worker", "register", "jobs", "reader", "backup")

    unknown = {use for use in used if not any(value == use or value.startswith(f"{use}.") for value in values)}
    assert {use for use in unknown if not use.startswith("jobs.resources.")} == set()
    used |= {value for value in values if value.startswith(components) and value.split(".")[-1] in pods}
    assert {value for value in values - used if not any(value.startswith(f"{parent}.") for parent in parents)} == set()


def test_every_object_of_the_schema_refuses_what_it_does_not_know() -> None:
    def open_objects(node: Any, path: str) -> Iterator[str]:
        if isinstance(node, dict):
            if "properties" in node and node.get("type") == "object" and node.get("additionalProperties") is not False:
                yield path
            for key, child in node.items():
                yield from open_objects(child, f"{path}/{key}")

    schema = json.loads((CHART / "values.schema.json").read_text())
    # Whole objects of any kind.
    del schema["$defs"]["objects"]

    assert list(open_objects(schema, "")) == []


# --- mistakes ---


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"server": {"enabld": False}}, "enabld"),
        ({"warehouse": {"size": 10}}, "/warehouse/size"),
        ({"warehouse": {"existingclaim": "gold"}}, "existingclaim"),
        ({"warehouse": {"accessMode": "ReadOnlyMany"}}, "/warehouse/accessMode"),
        ({"jobs": {"resources": {"limit": {"memory": "2Gi"}}}}, "limit"),
        ({"jobs": {"env": {"A": "b"}}}, "/jobs/env"),
        ({"jobs": {"env": [{"name": "A", "value": 1}]}}, "/jobs/env"),
        ({"worker": {"queryInterval": "2s"}}, "/worker/queryInterval"),
        ({"prefect": {"apiUrl": "api.prefect.cloud"}}, "/prefect/apiUrl"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
    ],
)
def test_a_wrong_type_or_a_misspelt_value_is_refused_by_name(values: dict[str, Any], told: str) -> None:
    done = helm_template(values)

    assert done.returncode != 0
    assert told in done.stderr


def test_values_that_do_not_go_together_are_told_all_at_once() -> None:
    done = helm_template(
        {
            "server": {"enabled": False},
            "prefect": {"apiKeySecret": {"name": "key"}, "authSecret": {"name": "login"}},
            "jobs": {"volumes": [{"name": "scratch", "emptyDir": {}}]},
        }
    )

    assert done.returncode != 0
    assert "server.enabled is false and prefect.apiUrl is empty" in done.stderr
    assert "prefect.apiKeySecret.name and prefect.authSecret.name are both set" in done.stderr
    assert "jobs.volumes has scratch" in done.stderr


def test_the_api_of_another_server_is_refused_while_this_release_has_its_own() -> None:
    done = helm_template({"prefect": {"apiUrl": "https://prefect.example.com/api"}})

    assert "prefect.apiUrl is set, but this release runs its own server" in done.stderr
