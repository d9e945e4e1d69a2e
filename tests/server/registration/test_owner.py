"""A work pool belongs to one release, and registration changes nothing of another's."""

from pathlib import Path

import pytest
from prefect.client.schemas.actions import WorkPoolCreate

from dbtpod.watchdog.owner import Mark, Owner, fingerprints
from registering import TEMPLATE, ask, daily, deployments, hourly, refused, run, write

DEV, PROD = ("--owner=dev/shop", "--owner=prod/shop")


def pool_description(name: str = "shop") -> str | None:
    return ask(lambda client: client.read_work_pool(name)).description


def test_a_pool_without_an_owner_is_taken_over_with_a_line(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = WorkPoolCreate(
        name="shop", type="kubernetes", base_job_template=TEMPLATE, description="Registered by dbtpod: 1a2b3c4d"
    )
    ask(lambda client: client.create_work_pool(older))

    assert run(project, DEV, "--digest=5e6f7a8b") == 0

    assert "belongs to release shop in namespace dev now; it had no owner" in capsys.readouterr().out
    assert pool_description() == "Owner: release shop in namespace dev\nRegistered by dbtpod: 5e6f7a8b"


def test_another_owners_pool_is_refused_with_both_names_and_what_to_do(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, DEV, "--digest=1a2b3c4d") == 0
    before = {name: (item.id, item.updated) for name, item in deployments().items()}
    write(project, daily(parameters={"day": "monday"}))

    message = refused(project, capsys, "--base-job-template", str(project / "template.json"), PROD)

    assert "belongs to release shop in namespace dev; this is release shop in namespace prod" in message
    assert "workPool.name" in message and "prefect work-pool update shop --description ''" in message
    assert {name: (item.id, item.updated) for name, item in deployments().items()} == before
    assert "namespace dev" in str(pool_description())


def test_each_of_two_owners_has_its_own_pool_and_prunes_only_its_own_deployments(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, DEV, "--pool=dev", "--suffix=-dev") == 0
    assert run(project, PROD, "--pool=prod") == 0

    write(project, hourly())
    assert run(project, PROD, "--pool=prod") == 0

    assert {name: item.work_pool_name for name, item in deployments().items()} == {
        "shop-daily-dev": "dev",
        "shop-hourly-dev": "dev",
        "shop-hourly": "prod",
    }
    capsys.readouterr()
    # The same names in another owner's pool would be taken from there.
    message = refused(project, capsys, "--base-job-template", str(project / "template.json"), DEV, "--pool=dev")
    assert "shop-smoke/shop-hourly: in the work pool 'prod' already" in message
    assert "environment.deploymentSuffix" in message


def test_a_release_whose_pool_has_a_new_name_takes_its_deployments_along(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, DEV) == 0

    assert run(project, DEV, "--pool=shop-dev") == 0

    assert {item.work_pool_name for item in deployments().values()} == {"shop-dev"}
    assert "moves from work pool shop" in capsys.readouterr().out


ONE, OTHER, NEXT = (
    f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in ("QQ==", "Qg==", "Qw==")
)


def test_clusters_are_told_apart_by_their_authority_also_while_it_is_replaced(tmp_path: Path) -> None:
    def owner(text: str) -> Owner:
        (tmp_path / "ca.crt").write_text(text)
        return Owner.of("prod/shop", tmp_path / "ca.crt")

    first = owner(ONE)
    assert first.clusters and not first.is_same(owner(OTHER))
    assert first.is_same(owner(ONE + NEXT)) and owner(ONE + NEXT).is_same(owner(NEXT))
    assert fingerprints(tmp_path / "none") == frozenset()
    for each in (first, owner(ONE + NEXT)):
        assert Mark.written(str(Mark(each, "1a2b3c4d"))) == Mark(each, "1a2b3c4d")
