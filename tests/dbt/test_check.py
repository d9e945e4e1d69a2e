"""`dbtpod check` on mistakes of all kinds, each with the message that names it: real dbt, in one project that has them.

dbt takes seconds, so it is asked once about all of them; each deployment, flow and file of values is one mistake.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbtpod import cli
from dbtpod.check import main as check
from dbtpod.check.finding import Finding
from dbtpod.registration import deployments
from dbtpod.registration.deployments import DeploymentsInvalid

REPO = Path(__file__).parents[2]
QUEUE = {"name": "dbtpod", "work_queue_name": "duckdb-writer"}
SHOP = {
    "dbt_project.yml": "name: shop\nprofile: shop\nmodels: {shop: {stagging: {+materialized: table}}}\n",
    "profiles.yml": "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}\n",
    "selectors.yml": "selectors: [{name: nightly, definition: {method: tag, value: nightly}}]\n",
    "models/stg_orders.sql": "{{ config(tags=['nightly']) }} select 1 as id",
    "models/orders.sql": "select * from {{ ref('stg_orders') }}",
    "models/sources.yml": "sources: [{name: raw, tables: [{name: payments}]}]\n",
    "macros/grant_all.sql": "{% macro grant_all() %}{% endmacro %}",
}


@dataclass(frozen=True)
class Mistake:
    """What is wrong, what is said of it, and a part of the line that is named."""

    says: str
    at: str
    # One of: keys of a deployment, the body of a flow, the text of a file of values.
    deployment: dict[str, Any] = field(default_factory=dict)
    flow: str = ""
    values: str = ""
    is_warning: bool = False


def runs(*commands: Any, **keys: Any) -> dict[str, Any]:
    return {"entrypoint": "dbtpod.flows.commands", "parameters": {"commands": list(commands)}, **keys}


def at(**schedule: Any) -> dict[str, Any]:
    return runs("build", schedules=[{"slug": "daily", **schedule}])


def pool(**keys: Any) -> dict[str, Any]:
    return runs("build", work_pool=QUEUE | keys)


def asks(**request: Any) -> dict[str, Any]:
    return {"entrypoint": "dbtpod.flows.run", "parameters": {"request": request}}


def python(entrypoint: str, **keys: Any) -> dict[str, Any]:
    return {"entrypoint": entrypoint, **keys}


MISTAKES = {
    # prefect.yaml
    "key": Mistake(r"descripton is an unknown key.*'description'", "descripton:", runs("build", descripton="x")),
    "type": Mistake(r"tags is 'daily': it must be a list", "tags:", runs("build", tags="daily")),
    "unset": Mistake(r"the variable WHEN is not set; export it", "{{ $WHEN }}", at(cron="{{ $WHEN }}")),
    "cron": Mistake(r"cron is '0 25 \* \* \*': Invalid cron", "cron:", at(cron="0 25 * * *")),
    "zone": Mistake(r"is 'Europe/Berln'.*'Europe/Berlin'", "timezone:", at(cron="0 6 * * *", timezone="Europe/Berln")),
    "no-time": Mistake(r"has no time: it must have one of", "slug:", at()),
    "two-times": Mistake(r"has cron and interval: it must have one of", "slug:", at(cron="0 6 * * *", interval=60)),
    "no-slug": Mistake(r"has no slug: give it a name", "cron:", runs("build", schedules=[{"cron": "0 6 * * *"}])),
    "queue": Mistake(r"no worker polls it.*'duckdb-writer'", "work_queue_name:", pool(work_queue_name="duckdb-writr")),
    "pool": Mistake(
        r"is 'dbtpot', but the work pool that is registered is 'dbtpod'", "name: dbtpot", pool(name="dbtpot")
    ),
    "no-pool": Mistake(r"has no work_pool: write its name", "name: no-pool", runs("build", work_pool=None)),
    "variable": Mistake(
        r"memori_limit is not a variable.*'memory_limit'", "memori", pool(job_variables={"memori_limit": "1Gi"})
    ),
    "variable-kind": Mistake(
        r"is '1h': it must be a whole number", "active", pool(job_variables={"active_deadline_seconds": "1h"})
    ),
    # entrypoints
    "no-entrypoint": Mistake(r"has no entrypoint: name its flow", "name: no-entrypoint", {}),
    "module": Mistake(
        r"no module 'dbtpod.flow' is installed.*'dbtpod.flows.commands'", "entrypoint:", python("dbtpod.flow.commands")
    ),
    "file": Mistake(r"no file flows/fine.p.*'flows/fine.py'", "entrypoint:", python("flows/fine.p:fine")),
    "function": Mistake(r"no function 'fin'; did you mean 'fine'", "entrypoint:", python("flows/fine.py:fin")),
    "no-flow": Mistake(
        r"helper in flows/fine.py is not a flow: write @flow above it", "entrypoint:", python("flows/fine.py:helper")
    ),
    "parameter": Mistake(r"dya is not a parameter.*'day'", "dya:", python("flows/fine.py:fine", parameters={"dya": 1})),
    "needed": Mistake(
        r"gives no parameter 'day'",
        "slug:",
        python("flows/fine.py:fine", schedules=[{"slug": "s", "cron": "0 6 * * *"}]),
    ),
    # how commands are written
    "no-list": Mistake(
        r"commands is 'build': write a list", "commands:", {**runs(), "parameters": {"commands": "build"}}
    ),
    "number": Mistake(r"commands\[0\] is 7: a command is a text", "- 7", runs(7)),
    "quotation": Mistake(r"No closing quotation", "build --vars", runs("build --vars '{a: 1}")),
    "retries": Mistake(
        r"retries is -1: it must be", "retries:", {**runs(), "parameters": {"commands": ["build"], "retries": -1}}
    ),
    # what a request asks for
    "field": Mistake(r"request.selct is an unknown field.*'select'", "selct:", asks(selct=["orders"])),
    "field-kind": Mistake(
        r"request.full_refresh is 'often': Input should be a valid boolean", "full", asks(full_refresh="often")
    ),
    "field-choice": Mistake(
        r"request.pieces is 'year': Input should be 'whole', 'day'", "pieces:", asks(pieces="year")
    ),
    "field-time": Mistake(
        r"event_time_end is 'soon': 'soon' is no time: write a date",
        "event_time_end:",
        asks(event_time_start="2026-01-01", event_time_end="soon"),
    ),
    "empty-name": Mistake(r"request.select\[1\] is empty: write a name", "- ''", asks(select=["orders", ""])),
    "two-fields": Mistake(
        r"request does not fit together: With selector, dbt ignores select",
        "request:",
        asks(selector="nightly", select=["orders"]),
    ),
    "of-a-schedule": Mistake(
        r"schedules\[0\].parameters.request.retries is -1: Input should be greater",
        "retries:",
        asks() | {"schedules": [{"slug": "s", "cron": "0 6 * * *", "parameters": {"request": {"retries": -1}}}]},
    ),
    "asked-selector": Mistake(
        r"request is 'build --selector nighty'.*no selector 'nighty'; did you mean 'nightly'",
        "selector:",
        asks(selector="nighty"),
    ),
    "asked-model": Mistake(
        r"request is 'build --select stg_orders odrers': 'odrers' matches nothing; did you mean 'orders'",
        "- odrers",
        asks(select=["stg_orders", "odrers"]),
    ),
    "asked-kind": Mistake(
        r"'run --select source:raw.payments': it selects nothing that dbt run runs",
        "request:",
        asks(command="run", select=["source:raw.payments"]),
    ),
    # what dbt's command line does not take
    "verb": Mistake(r"is 'biuld': No such command 'biuld'. Did you mean 'build'", "- biuld", runs("build", "biuld")),
    "option": Mistake(r"No such option '--selecter'.*'--select'", "--selecter", runs("build --selecter x")),
    "value": Mistake(r"'--threads': 'many' is not a valid integer", "--threads", runs("run --threads many")),
    "choice": Mistake(r"'modle' is not one of 'metric'", "modle", runs("build --resource-type modle")),
    "yaml-vars": Mistake(r"String '{a' is not valid YAML", "--vars", runs("build --vars {a")),
    "before-verb": Mistake(r"No such option '--select'.* after the command", "--select", runs("--select orders build")),
    "no-verb": Mistake(r"it has no command, such as build", "--quiet", runs("--quiet")),
    "second-word": Mistake(r"is 'source': it needs a second word: freshness", "- source", runs("source")),
    "extra": Mistake(r"unexpected extra argument \(orders\)", "orders", runs("run orders")),
    "help": Mistake(r"--help prints a text and builds nothing", "--help", runs("build --help")),
    "twice": Mistake(
        r"fail_fast was provided both before and after", "--fail-fast", runs("--fail-fast build --fail-fast")
    ),
    "deps": Mistake(r"packages are installed when the image is built", "deps", runs("deps", "build")),
    "serve": Mistake(r"it never ends; write docs generate", "docs serve", runs("docs serve")),
    "retry": Mistake(r"is tried again by `retries`", "retry", runs("retry")),
    # what commands select
    "selector": Mistake(r"no selector 'nighty'; did you mean 'nightly'", "nighty", runs("build --selector nighty")),
    "macro": Mistake(
        r"there is no macro 'grant_al'; did you mean 'grant_all'", "grant_al", runs("run-operation grant_al")
    ),
    "no-macro": Mistake(r"it needs the name of a macro", "run-operation", runs("run-operation")),
    "target": Mistake(r"dbt cannot parse the project with it", "--target", runs("build --target prd")),
    "state": Mistake(r"Got a state selector method, but no comparison", "state:", runs("build -s state:modified")),
    "model": Mistake(r"it selects nothing.*'stg_orders'", "stg_odrers+", runs("build -s stg_odrers+"), is_warning=True),
    "tag": Mistake(r"it selects nothing.*'nightly'", "tag:", runs("build -s tag:nighly"), is_warning=True),
    "source": Mistake(
        r"it selects nothing.*'raw.payments'", "payment", runs("build -s source:raw.payment+"), is_warning=True
    ),
    "one-of-two": Mistake(
        r"'odrers' of it matches nothing; did you mean 'orders'",
        "odrers",
        runs("build -s stg_orders odrers"),
        is_warning=True,
    ),
    "no-seeds": Mistake(r"is 'seed': it selects nothing", "- seed", runs("seed"), is_warning=True),
    "freshness": Mistake(r"none of its sources has `freshness`", "- source", runs("source freshness"), is_warning=True),
    "readers": Mistake(
        r"is 'duckdb-reader', but 'run' writes.*write duckdb-writer",
        "work_queue_name:",
        runs("run", work_pool=QUEUE | {"work_queue_name": "duckdb-reader"}),
        is_warning=True,
    ),
    # Python
    "in-python": Mistake(
        r"run_dbt is given 'build --selecter x': No such option", "selecter", flow='run_dbt("build --selecter x")'
    ),
    "python-list": Mistake(r"run_dbt is given 'biuld': No such command", "biuld", flow='run_dbt("build", ["biuld"])'),
    "python-selector": Mistake(r"no selector 'nighty'", "nighty", flow='run_dbt("build --selector nighty", retries=2)'),
    "python-keyword": Mistake(
        r"run_dbt\(\) has no parameter 'retrys'; did you mean 'retries'", "retrys", flow='run_dbt("build", retrys=2)'
    ),
    "python-nothing": Mistake(r'needs a dbt command, such as run_dbt\("build"\)', "run_dbt()", flow="run_dbt()"),
    "python-quotation": Mistake(r"No closing quotation", "--vars", flow="""run_dbt("build --vars '{a: 1}")"""),
    # values.yaml
    "values-key": Mistake(
        r"jobs.resource is an unknown key; did you mean 'resources'", "resource:", values="jobs:\n  resource: {}\n"
    ),
    "values-type": Mistake(
        r"retentionDays is '90': it must be a whole number", "retention", values="server:\n  retentionDays: '90'\n"
    ),
    "values-text": Mistake(
        r"image.tag is 1.2: it must be text, so put it in quotes", "tag", values="image:\n  tag: 1.2\n"
    ),
    "values-quantity": Mistake(
        r"size is '5GB': it must be as 500Mi or 2Gi", "size", values="warehouse:\n  size: 5GB\n"
    ),
    "values-choice": Mistake(
        r"one of ReadWriteOnce.*'ReadWriteOnce'", "accessMode", values="warehouse:\n  accessMode: ReadWriteonce\n"
    ),
    "values-bound": Mistake(
        r"keepGenerations is 0: it must be at least 1", "keep", values="warehouse:\n  keepGenerations: 0\n"
    ),
    "values-env": Mistake(
        r"jobs.env\[0\] must have one of value, valueFrom", "- name", values="jobs:\n  env:\n  - name: A\n"
    ),
    "writers-of-a-file": Mistake(
        r"writers is 2, and warehouse.kind is file: a DuckDB file takes one writer",
        "writers",
        values="warehouse:\n  writers: 2\n",
    ),
    "values-twice": Mistake(r"jobs is given twice, first in line 1", "jobs:", values="jobs: {}\nimage: {}\njobs: {}\n"),
    "values-yaml": Mistake(
        r"is not YAML: mapping values are not allowed here; put a text", "tag", values="image:\n  tag: a: b\n"
    ),
}


def flow_file(name: str, body: str) -> str:
    function = name.replace("-", "_")
    return f"from prefect import flow\nfrom dbtpod import run_dbt\n\n@flow\ndef {function}():\n    return {body}\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with all the mistakes."""
    folder = tmp_path_factory.mktemp("shop")
    write(folder / "transform", SHOP)
    fine = "from prefect import flow\n\n@flow\ndef fine(day):\n    pass\n\ndef helper():\n    pass\n"
    write(folder, {"flows/fine.py": fine, "values.yaml": ""})
    entries = []
    for name, mistake in MISTAKES.items():
        keys: dict[str, Any] = {"work_pool": QUEUE, **mistake.deployment}
        if mistake.flow:
            write(folder, {f"flows/{name}.py": flow_file(name, mistake.flow)})
            keys["entrypoint"] = f"flows/{name}.py:{name.replace('-', '_')}"
        if mistake.values:
            write(folder, {f"values-{name}.yaml": mistake.values})
        else:
            entries.append({"name": name, **{key: value for key, value in keys.items() if value is not None}})
    write(folder, {"prefect.yaml": yaml.dump({"deployments": entries}, Dumper=Plain, sort_keys=False, width=1000)})
    return folder


class Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture(scope="module")
def found(shop: Path) -> list[Finding]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DBT_PROJECT_DIR", "WHEN"):
            patch.delenv(name, raising=False)
        return check.check(shop)[0]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_once_with_its_line_and_the_fix(shop: Path, found: list[Finding], name: str) -> None:
    mistake = MISTAKES[name]
    of_this = {Path(f"values-{name}.yaml"), Path(f"flows/{name}.py")}

    [one] = [each for each in found if each.file in of_this or each.text.startswith(f"deployment '{name}'")]

    assert re.search(mistake.says, one.text)
    assert one.is_warning == mistake.is_warning
    assert one.file and one.line
    assert mistake.at in (shop / one.file).read_text().splitlines()[one.line - 1]


def test_nothing_else_is_found_but_what_dbt_itself_warns_of(shop: Path, found: list[Finding]) -> None:
    named = {f"deployment '{name}'" for name in MISTAKES}
    in_files = {
        Path(f"{kind}{name}{end}") for name in MISTAKES for kind, end in (("values-", ".yaml"), ("flows/", ".py"))
    }

    [other] = [each for each in found if each.file not in in_files and each.text.partition(":")[0] not in named]

    assert other.is_warning
    assert other.file == Path("transform/dbt_project.yml")
    assert "models.shop.stagging" in other.text


def test_a_project_that_dbt_cannot_parse_is_said_in_its_words_beside_all_else(tmp_path: Path) -> None:
    broken = SHOP | {
        "models/orders.sql": "select * from {{ ref('stg_odrers') }}",
        "dbt_project.yml": "name: shop\nprofile: shop\n",
    }
    commands = ["biuld", "build -s orders"]
    write(
        tmp_path,
        {**broken, "prefect.yaml": yaml.safe_dump({"deployments": [{"name": "a", **pool()} | runs(*commands)]})},
    )

    text, code = check.run(tmp_path, strict=False)

    assert code == 1
    [model] = [line for line in text if line.startswith("models/orders.sql:")]
    assert "Compilation Error" in model
    assert any("depends on a node named 'stg_odrers' which was not found" in line for line in text)
    assert [line for line in text if "No such command 'biuld'" in line]
    assert text[-1] == "2 problems in 1 deployment, 2 commands, no dbt nodes"


def test_this_repository_has_nothing_to_complain_of(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["check", str(REPO), "--strict"])

    assert capsys.readouterr().out == "no problems in 6 deployments, 5 commands, 54 dbt nodes\n"
    assert code == 0


def test_registration_refuses_the_commands_that_dbt_does_not_take(tmp_path: Path) -> None:
    entries = [{"name": "a", **pool(), **runs("build --selecter x", "run --threads many", "deps")}]
    write(tmp_path, {"prefect.yaml": yaml.safe_dump({"deployments": entries}, sort_keys=False)})

    with pytest.raises(DeploymentsInvalid) as caught:
        deployments.read(tmp_path / "prefect.yaml", environment={})

    first, *errors = str(caught.value).splitlines()
    assert first.endswith("prefect.yaml has 3 errors; nothing was changed.")
    wanted = ["No such option '--selecter'", "'many' is not a valid integer", "by `dbtpod bake`"]
    assert all(text in error for text, error in zip(wanted, errors, strict=True))
