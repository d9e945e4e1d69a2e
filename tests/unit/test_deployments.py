import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.cli.deploy import _models

from dbtpod.registration import deployments, mapping, prefect_yaml
from dbtpod.registration.deployments import DeploymentsInvalid

REPO = Path(__file__).parents[2]
STEPS = "prefect.deployments.steps"

FLOWS = """
from prefect import flow
import prefect

@flow(name="shop-build")
def shop_build(day: str = "today"):
    pass

@prefect.flow
async def shop_smoke():
    pass

def helper():
    pass

made_later = flow(helper)

@flow
def shop_weekly(week: int, *, day: str = "monday"):
    pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/flows.py").write_text(FLOWS)
    return tmp_path


def deployment(**changes: Any) -> dict[str, Any]:
    """A deployment without mistakes, with these keys changed; None removes a key."""
    entry: dict[str, Any] = {
        "name": "shop-daily",
        "entrypoint": "flows/flows.py:shop_build",
        "schedules": [{"slug": "daily", "cron": "0 6 * * *", "timezone": "UTC"}],
        "work_pool": {"name": "dbtpod", "work_queue_name": "duckdb-writer"},
    }
    return {key: value for key, value in {**entry, **changes}.items() if value is not None}


def schedule(**changes: Any) -> dict[str, Any]:
    return deployment(schedules=[{"slug": "daily", **changes}])


def pool(**changes: Any) -> dict[str, Any]:
    return deployment(work_pool={"name": "dbtpod", "work_queue_name": "duckdb-writer", **changes})


def ready(**parameters: Any) -> dict[str, Any]:
    """A deployment of the ready flow that runs by hand. What dbt refuses of commands is tested with dbt."""
    return deployment(entrypoint="dbtpod.flows.commands", parameters=parameters, schedules=None)


def read(
    project: Path, *entries: Any, environment: dict[str, str] | None = None, **top: Any
) -> deployments.PrefectFile:
    path = project / "prefect.yaml"
    path.write_text(yaml.safe_dump({"deployments": list(entries), **top}, sort_keys=False))
    return deployments.read(path, environment=environment or {})


def mistakes(project: Path, *entries: Any, **top: Any) -> list[str]:
    with pytest.raises(DeploymentsInvalid) as caught:
        read(project, *entries, **top)
    return str(caught.value).splitlines()[1:]


def test_the_file_of_this_repository_has_the_deployments_and_no_mistake() -> None:
    file = deployments.read(REPO / "prefect.yaml", environment={})

    found = {item.name: (item.flow, item.queue, [s.when for s in item.schedules]) for item in file.deployments}
    assert found == {
        "dbt-build-daily": ("dbt-build", "duckdb-writer", ["0 6 * * *"]),
        "dbt-smoke-hourly": ("dbt-smoke", "duckdb-writer", ["0 * * * *"]),
        "dbt-source-freshness": ("dbt-source-freshness", "duckdb-reader", ["0 */6 * * *"]),
        "dbt-fact-orders-full-refresh": ("dbt-fact-orders-full-refresh", "duckdb-writer", []),
        "dbt-run": ("dbt-run", "duckdb-writer", []),
        "dbt-build-if-fresher": ("dbt-build-if-fresher", "duckdb-writer", []),
    }


def test_the_file_of_this_repository_states_timezones_texts_and_no_image() -> None:
    content = yaml.safe_load((REPO / "prefect.yaml").read_text())

    for entry in content["deployments"]:
        assert entry["description"] and entry["tags"]
        assert "job_variables" not in entry["work_pool"]
        assert all(item["timezone"] == "UTC" for item in entry.get("schedules", []))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(deployment(descripton="x"), r"descripton is an unknown key.*did you mean 'description'", id="key"),
        pytest.param(
            schedule(cron="0 6 * * *", timezon="UTC"), r"schedules\[0\]\.timezon is an unknown key", id="skey"
        ),
        pytest.param(pool(queue="x"), r"work_pool\.queue is an unknown key", id="pool key"),
        pytest.param(
            deployment(concurrency_limit={"limt": 1}), r"concurrency_limit\.limt .*did you mean 'limit'", id="limit key"
        ),
        pytest.param(deployment(tags="daily"), r"tags is 'daily': it must be a list", id="type"),
        pytest.param(deployment(sla=[]), r"sla .*only Prefect Cloud", id="sla"),
        pytest.param(deployment(schedule={}), r"schedule .*`schedules`", id="schedule"),
        pytest.param(
            pool(job_variables={"image": "{{ $IMG }}"}), r"'{{ \$IMG }}': the variable IMG is not set", id="env"
        ),
        pytest.param(schedule(cron="0 25 * * *"), r"schedules\[0\]\.cron is '0 25 \* \* \*': Invalid cron", id="cron"),
        pytest.param(schedule(interval=0), r"schedules\[0\]\.interval is 0: .*greater than 0", id="interval"),
        pytest.param(schedule(), r"schedules\[0\] has no time: .*one of cron, interval, rrule", id="no time"),
        pytest.param(
            schedule(cron="0 6 * * *", timezone="Europe/Berln"),
            r"timezone is 'Europe/Berln'.*did you mean 'Europe/Berlin'",
            id="timezone of a cron",
        ),
        pytest.param(
            schedule(interval=60, timezone="Europe/Berln"),
            r"timezone is 'Europe/Berln'.*did you mean 'Europe/Berlin'",
            id="timezone of an interval",
        ),
        pytest.param(deployment(schedules=[{"cron": "0 6 * * *"}]), r"schedules\[0\] has no slug", id="no slug"),
        pytest.param(deployment(schedules=["daily"]), r"schedules\[0\] is 'daily': a schedule is", id="no mapping"),
        pytest.param(deployment(entrypoint=None), "has no entrypoint", id="no entrypoint"),
        pytest.param(
            deployment(entrypoint="dbtpod.flow.commands"),
            "no module 'dbtpod.flow' is installed: .*did you mean 'dbtpod.flows.commands'",
            id="module",
        ),
        pytest.param(
            deployment(entrypoint="dbtpod.flows.command"),
            "dbtpod.flows has no function 'command'; did you mean 'commands'",
            id="function of a module",
        ),
        pytest.param(
            deployment(entrypoint="dbtpod.flows:commands"), "with a dot: dbtpod.flows.commands", id="module and colon"
        ),
        pytest.param(deployment(entrypoint="/flows/flows.py:shop_build"), "write it relative to", id="absolute"),
        pytest.param(
            deployment(entrypoint="flows/flow.py:shop_build"), "no file .*did you mean 'flows/flows.py'", id="file"
        ),
        pytest.param(
            deployment(entrypoint="flows/flows.py:shop_bild"), "no function .*did you mean 'shop_build'", id="function"
        ),
        pytest.param(deployment(entrypoint="flows/flows.py:helper"), "not a flow: write @flow above it", id="no flow"),
        pytest.param(deployment(parameters={"dya": 1}), r"parameters\.dya is not a parameter .*'day'", id="parameter"),
        pytest.param(
            pool(work_queue_name="duckdb-writr"), "no worker polls it.*did you mean 'duckdb-writer'", id="queue"
        ),
        pytest.param(
            deployment(work_pool={"name": "dbtpod"}),
            r"work_pool\.work_queue_name is None: no worker polls it",
            id="no queue",
        ),
        pytest.param(deployment(name=None), "has no name", id="no name"),
        pytest.param(
            deployment(pull=[{f"{STEPS}.set_working_directry": {"directory": "."}}]),
            r"pull\[0\]\.prefect\..*no such step.*did you mean 'set_working_directory'",
            id="step",
        ),
        pytest.param(
            deployment(pull=[{f"{STEPS}.set_working_directory": {"directry": "."}}]),
            r"\.directry is not an input of this step.*did you mean 'directory'",
            id="key of a step",
        ),
        pytest.param(deployment(push=["x"]), r"push\[0\] is 'x': a step is a mapping", id="no step"),
        pytest.param("shop", "is 'shop': a deployment is a mapping", id="no deployment"),
        pytest.param(
            deployment(entrypoint="flows/flows.py:shop_weekly"),
            r"schedules\[0\] gives no parameter 'week', which flows/flows.py:shop_weekly needs",
            id="needed parameter",
        ),
        pytest.param(
            deployment(entrypoint="dbtpod.flows.commands"),
            "gives no parameter 'commands', which dbtpod.flows.commands needs",
            id="no commands",
        ),
        pytest.param(ready(command=["build"]), r"parameters\.command is not a parameter", id="name"),
        pytest.param(ready(commands="build"), r"commands is 'build': write a list of commands", id="no list"),
        pytest.param(ready(commands=[]), r"commands is \[\]: write a list of commands", id="empty list"),
        pytest.param(ready(commands=[7]), r"commands\[0\] is 7: a command is a text or a list", id="number"),
        pytest.param(ready(commands=["dbt "]), r"commands\[0\] is empty: write a dbt command", id="empty command"),
        pytest.param(
            ready(commands=[["build", "--threads", 2]]), r"commands\[0\] has the word 2, .*in quotes", id="no word"
        ),
        pytest.param(
            ready(commands=["build --vars '{day: 1}"]),
            r"commands\[0\] cannot be read: .*No closing quotation",
            id="quote",
        ),
        pytest.param(ready(retries=-1), r"retries is -1: it must be a whole number", id="retries"),
        pytest.param(
            ready(retry_delay_seconds="1m"),
            r"retry_delay_seconds is '1m': it must be a number of seconds",
            id="delay",
        ),
    ],
)
def test_a_mistake_is_named_with_its_fix(project: Path, entry: Any, expected: str) -> None:
    [problem] = mistakes(project, entry)

    assert re.search(expected, problem)


def test_all_mistakes_are_told_together_with_their_lines(project: Path) -> None:
    first, second = deployment(descripton="x"), deployment(name="shop-hourly", entrypoint="flows/flows.py:nothing")

    problems = mistakes(project, first, second, pul=[])

    lines = (project / "prefect.yaml").read_text().splitlines()
    numbers = [int(re.findall(r"line (\d+)", problem)[0]) for problem in problems]
    assert [lines[number - 1].split(":")[0].strip(" -") for number in numbers] == ["descripton", "entrypoint", "pul"]
    assert "deployment 'shop-hourly': entrypoint is 'flows/flows.py:nothing'" in problems[1]


def test_two_deployments_or_two_schedules_of_one_name_are_refused(project: Path) -> None:
    twice = {"slug": "daily", "cron": "0 6 * * *"}

    problems = mistakes(project, deployment(schedules=[twice, twice]), deployment())

    assert sum("which another deployment has too" in problem for problem in problems) == 2
    assert sum("which another schedule of this deployment has too" in problem for problem in problems) == 2


def test_all_deployments_name_the_pool_that_is_registered(project: Path) -> None:
    other = deployment(name="other", work_pool={"name": "dbtpot", "work_queue_name": "duckdb-reader"})

    [problem] = mistakes(project, deployment(), other)

    assert "work_pool.name is 'dbtpot', but the work pool that is registered is 'dbtpod'" in problem


def test_a_variable_that_is_set_is_filled_in_before_the_check(project: Path) -> None:
    entry = deployment(schedules=[{"slug": "daily", "cron": "{{ $WHEN }}"}])

    file = read(project, entry, environment={"WHEN": "5 4 * * *"})

    assert file.deployments[0].schedules[0].when == "5 4 * * *"


def test_flows_that_prefect_accepts_are_accepted(project: Path) -> None:
    file = read(
        project,
        deployment(),
        deployment(name="async", entrypoint="flows/flows.py:shop_smoke"),
        deployment(name="assigned", entrypoint="flows/flows.py:made_later"),
        definitions={"anchors": []},
        pull=[],
    )

    assert [entry.flow for entry in file.deployments] == ["shop-build", "shop-smoke", None]


@pytest.mark.parametrize("text", ["deployments: [", "name: x", "", "deployments: {a: 1}"])
def test_a_file_that_is_no_prefect_yaml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "prefect.yaml").write_text(text)

    with pytest.raises(DeploymentsInvalid, match=r"prefect\.yaml"):
        deployments.read(tmp_path / "prefect.yaml")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeploymentsInvalid, match=r"nowhere\.yaml cannot be read"):
        deployments.read(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"memori": "1Gi"}, r"line 12: .*job_variables\.memori is not a variable .*did you mean 'memory'"),
        ({"memory": 2}, r"line 12: .*job_variables\.memory is 2: it must be text, so put it in quotes"),
        ({"env": {"DAYS": 7}}, r"line 13: .*job_variables\.env\.DAYS is 7: it must be text"),
    ],
)
def test_a_job_variable_that_the_template_does_not_have_so_is_refused(
    project: Path, variables: dict[str, Any], expected: str
) -> None:
    file = read(project, pool(job_variables=variables))
    env = {"type": "object", "additionalProperties": {"type": "string"}}
    template = {"variables": {"properties": {"memory": {"type": "string"}, "env": env}}}

    with pytest.raises(DeploymentsInvalid, match=expected):
        deployments.check_job_variables(file, template)
    with pytest.raises(DeploymentsInvalid, match=expected):
        deployments.read(file.path, job_template=template)


def test_a_job_variable_that_prefect_fills_in_may_become_what_it_must_be(project: Path) -> None:
    file = read(project, pool(job_variables={"deadline": "{{ prefect.variables.deadline }}"}))

    deployments.check_job_variables(file, {"variables": {"properties": {"deadline": {"type": "integer"}}}})


def test_a_key_that_is_given_twice_is_a_mistake_though_yaml_keeps_the_last(project: Path) -> None:
    path = project / "prefect.yaml"
    path.write_text(yaml.safe_dump({"deployments": [deployment()]}, sort_keys=False) + "  tags: [a]\n  tags: [b]\n")

    with pytest.raises(DeploymentsInvalid, match=r"line 12: .* tags is given twice, first in line 11"):
        deployments.read(path, environment={})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deployments:\n- name: a\n  tags: every day: at six\n", r"a text that has a colon in quotes \(line 3\)"),
        ("deployments:\n- name: {{ $NAME }}\n", r"put a text that begins with {{ in quotes"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_line_and_the_usual_fix(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "prefect.yaml").write_text(text)

    with pytest.raises(DeploymentsInvalid, match=expected):
        deployments.read(tmp_path / "prefect.yaml")


def test_a_deployment_of_the_ready_flow_may_leave_its_commands_to_the_form(project: Path) -> None:
    file = read(project, ready(retries=2))

    assert [entry.flow for entry in file.deployments] == ["dbt"]


def test_the_known_keys_are_those_of_prefects_own_models() -> None:
    def keys(model: Any) -> set[str]:
        return {field.alias or name for name, field in model.model_fields.items()}

    assert mapping.keys(prefect_yaml.PrefectYaml) - {"definitions"} == keys(_models.PrefectYamlModel)
    deployment = prefect_yaml.Deployment
    assert mapping.keys(deployment) | set(deployment.refused) == keys(_models.DeploymentConfig)
    assert mapping.keys(prefect_yaml.WorkPool) == keys(_models.WorkPoolConfig)
    assert mapping.keys(prefect_yaml.ConcurrencyLimit) == keys(_models.ConcurrencyLimitSpec)
    assert mapping.keys(prefect_yaml.Schedule) == keys(_models.RawScheduleConfig)
