"""One prefect.yaml for several environments: the pool, the names and the schedules of each."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dbtpod.errors import DeploymentsInvalid
from dbtpod.registration import deployments
from dbtpod.registration.deployments import PrefectFile
from dbtpod.registration.variant import Variant


def entry(name: str, pool: str = "shop", **keys: Any) -> dict[str, Any]:
    return {
        "name": name,
        "entrypoint": "dbtpod.flows.commands",
        "parameters": {"commands": [["build"]]},
        "work_pool": {"name": pool, "work_queue_name": "duckdb-writer"},
        **keys,
    }


DAILY = {"slug": "daily", "cron": "0 6 * * *", "timezone": "UTC"}


def read(folder: Path, variant: Variant, *entries: Any) -> PrefectFile:
    (folder / "prefect.yaml").write_text(yaml.safe_dump({"deployments": list(entries)}, sort_keys=False))
    return deployments.read(folder / "prefect.yaml", variant, environment={})


@pytest.mark.slow
def test_as_it_is_written_nothing_changes(tmp_path: Path) -> None:
    file = read(tmp_path, Variant(), entry("daily", schedules=[DAILY]))

    assert file.pool == "shop"
    [found] = file.deployments
    assert (found.name, found.work_pool.name) == ("daily", "shop")
    assert file.draft.content["deployments"] == [entry("daily", schedules=[DAILY])]


@pytest.mark.slow
def test_another_environment_has_its_own_pool_names_and_quiet_schedules(tmp_path: Path) -> None:
    by_hand = entry("by-hand")
    file = read(tmp_path, Variant("shop-dev", "-dev", schedules=False), entry("daily", schedules=[DAILY]), by_hand)

    assert file.pool == "shop-dev"
    assert [each.name for each in file.deployments] == ["daily-dev", "by-hand-dev"]
    assert {each.work_pool.name for each in file.deployments} == {"shop-dev"}
    assert [schedule.active for each in file.deployments for schedule in each.schedules] == [False]
    # What Prefect deploys is the same as what was checked.
    assert [each["name"] for each in file.draft.content["deployments"]] == ["daily-dev", "by-hand-dev"]


@pytest.mark.slow
def test_a_pool_that_one_of_the_deployments_names_by_itself_is_an_error_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DeploymentsInvalid, match=r"line \d+: deployment 'b-dev': work_pool.name is 'shpo'"):
        read(tmp_path, Variant("shop", "-dev"), entry("a"), entry("b", pool="shpo"))


def test_what_is_not_a_deployment_is_still_named_by_the_checks(tmp_path: Path) -> None:
    with pytest.raises(DeploymentsInvalid) as error:
        read(tmp_path, Variant("shop-dev", "-dev", schedules=False), 7, {"name": 3, "schedules": {"cron": 1}})

    assert len(str(error.value).splitlines()) > 2
