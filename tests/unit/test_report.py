"""The report of a run: the state's message, tables, the failure graph."""

from dataclasses import replace
from pathlib import Path

import pytest

from dbtpod.dbt.node import NodeResult, NodeStatus
from dbtpod.dbt.results import RunReport
from dbtpod.ui import failure_graph, report
from dbtpod.ui.reader_links import ReaderLinks
from recordings import node, read

SUCCESS, WARN, ERROR, FAIL, SKIPPED, NO_OP, REUSED = NodeStatus
PARENTS = {
    "model.shop.stg_orders": ["seed.shop.raw_orders"],
    "model.shop.fct_orders": ["model.shop.stg_orders"],
    "model.shop.rich": ["model.shop.fct_orders"],  # ephemeral: in no report
    "model.shop.rich_customers": ["model.shop.rich"],
    "model.shop.top_customer": ["model.shop.fct_orders"],
    "test.shop.not_null_top_customer_customer.76d12c2423": ["model.shop.top_customer"],
    "test.shop.unique_stg_orders_customer.d82618e4a7": ["model.shop.stg_orders"],
    "unit_test.shop.fct_orders.sums_amounts": ["model.shop.fct_orders"],
}


@pytest.fixture
def failed_model(tmp_path: Path) -> RunReport:
    return read("failed_model", tmp_path)


def test_the_table_has_a_row_for_each_node_in_dbts_order(failed_model: RunReport) -> None:
    rows = report.table(failed_model)

    assert [(row["node"], row["status"], row["rows"]) for row in rows] == [
        ("seed raw_orders", "success", 3),
        ("model stg_orders", "success", None),
        ("model fct_orders", "error", None),
        ("model top_customer", "skipped", None),
        ("model rich_customers", "skipped", None),
        ("test not_null_top_customer_customer", "skipped", None),
    ]
    assert str(rows[2]["message"]).startswith('Binder Error: Referenced column "amout" not found in FROM clause!')


def test_the_summary_is_one_line_of_counts(failed_model: RunReport) -> None:
    assert report.summary(failed_model) == "6 done: 2 success, 1 error, 3 skipped"


def test_a_failure_says_the_command_the_counts_the_nodes_and_what_to_do(failed_model: RunReport) -> None:
    text = report.failure_text(failed_model, ["build"], 1, "Fix the model, then run the deployment again.")

    first, second, last = text.splitlines()
    assert first == "dbt build failed with exit code 1: 2 success, 1 error, 3 skipped."
    assert second.startswith('  model.shop.fct_orders: Binder Error: Referenced column "amout" not found')
    assert last == "Fix the model, then run the deployment again."


def test_a_failure_of_many_nodes_names_ten_and_counts_the_rest() -> None:
    many = RunReport("1", tuple(node(f"m{number}", ERROR) for number in range(22)), 1.0)

    lines = report.failure_text(many, ["build"], 1).splitlines()

    assert len(lines) == 12
    assert lines[-1] == "  and 12 more"


def test_a_failure_message_is_never_longer_than_2000_characters() -> None:
    long = NodeResult("model.shop." + "m" * 90, "model", "m" * 90, ERROR, 1.0, None, "word " * 9999)
    many = RunReport("1", tuple(NodeResult(**{**vars(long), "node_id": f"{long.node_id}{i}"}) for i in range(99)), 1.0)

    text = report.failure_text(many, ["build", "--select", *["x" * 50] * 90], 1, "Do this.")

    assert len(text) <= 2000
    assert text.endswith("more\nDo this.")


def test_a_long_advice_keeps_both_its_ends_and_its_last_line() -> None:
    advice = "Traceback: the first line\n" + "x" * 14_779 + "\nIO Error: the reason\ndbt's artifacts: /data/runs/1"

    text = report.failure_text(RunReport("1", (), 1.0), ["build"], 2, advice)

    assert len(text) <= 1900
    assert "Traceback: the first line" in text
    assert "(whole text: this run's log)" in text
    assert text.endswith("IO Error: the reason\ndbt's artifacts: /data/runs/1")


def test_a_message_that_is_cut_says_where_the_whole_of_it_is() -> None:
    long = replace(node("a", ERROR), message="x" * 14_779, place="/data/runs/1/run_results.json")
    whole = RunReport("1", (long,), 1.0)

    for text in (
        report.failure_text(whole, ["build"], 1),
        str(report.table(whole)[0]["message"]),
        report.markdown(whole, {}),
    ):
        assert len(text) < 5000
        assert "(whole text: /data/runs/1/run_results.json)" in text


def test_the_counts_of_a_failure_are_there_however_long_the_command_is() -> None:
    text = report.failure_text(RunReport("1", (node("a", ERROR),), 1.0), ["build", "--vars", "x" * 5000], 1)

    assert "failed with exit code 1: 1 error.\n" in text


def test_nodes_without_anything_to_do_are_counted_by_themselves() -> None:
    assert report.completed_text(RunReport("1", (node("a"), node("b", NO_OP)), 1.0)) == "2 nodes: 1 success, 1 no-op"


def test_two_models_of_one_name_have_their_packages_in_it() -> None:
    other = replace(node("orders", ERROR), node_id="model.crm.orders")
    two = RunReport("1", (node("orders", ERROR), other, node("fct")), 1.0)

    assert [row["node"] for row in report.table(two)] == ["model shop.orders", "model crm.orders", "model fct"]
    assert [row["node"] for row in report.table(RunReport("1", (other,), 1.0), {"model.shop.orders": []})] == [
        "model crm.orders"
    ]
    assert "### model crm.orders" in report.markdown(two, {})


def test_the_place_of_stored_failures_is_in_the_message_and_on_the_page() -> None:
    failed = replace(node("t", FAIL), message="Got 3 results", failures_table='"w"."audit"."t"')
    found = RunReport("1", (failed,), 1.0)

    assert 'Got 3 results; failing rows are in "w"."audit"."t"' in report.failure_text(found, ["test"], 1)
    assert 'Failing rows are in `"w"."audit"."t"` of the working copy' in report.markdown(found, {})


def test_a_table_of_very_many_nodes_is_bounded_and_begins_with_what_failed() -> None:
    many = RunReport("1", (*(node(f"m{number}") for number in range(2500)), node("bad", ERROR)), 1.0)

    rows = report.table(many)

    assert len(rows) == 2001
    assert rows[0]["node"] == "model bad"
    assert rows[-1]["node"] == "and 501 more"


def test_an_ephemeral_model_that_failed_is_named_by_what_it_skipped() -> None:
    skipped = NodeResult("model.shop.a", "model", "a", SKIPPED, 0, None, "Compilation Error in b\n  no such macro")

    text = report.failure_text(RunReport("1", (skipped,), 1.0), ["run"], 1)

    assert "model.shop.a: no such macro" in text


def test_a_run_in_which_no_node_ran_says_so() -> None:
    nothing = RunReport("1", (), 0.0)

    assert report.failure_text(nothing, ["build"], 2) == "dbt build failed with exit code 2: no node ran."
    assert report.completed_text(nothing) == "no node was selected"
    assert report.markdown(nothing, {}) == "**0 done** in 0.0 s.\n"


def test_a_warning_is_in_the_message_of_a_completed_run(tmp_path: Path) -> None:
    assert report.completed_text(read("warning_test", tmp_path)) == (
        "4 nodes: 3 success, 1 warn (test unique_stg_orders_customer Got 1 result, configured to warn if != 0)"
    )


def test_a_late_source_is_in_the_message_with_its_age(tmp_path: Path) -> None:
    assert report.completed_text(read("freshness_warn", tmp_path)) == (
        "2 nodes: 1 success, 1 warn (source raw.late is 30 h 5 min old, warn after 24 h, error after 3 d)"
    )


def test_the_page_shows_a_failure_with_its_message_and_its_sql(failed_model: RunReport) -> None:
    page = report.markdown(failed_model, PARENTS)

    assert page.startswith("**6 done: 2 success, 1 error, 3 skipped** in ")
    assert "### model fct\\_orders\n\n```text\nRuntime Error in model fct_orders" in page
    assert "```sql\nselect customer, sum(amout) as amount" in page


def test_the_page_leads_to_the_reader_where_its_address_is_known(failed_model: RunReport) -> None:
    reader = ReaderLinks("https://shop.example/reader", "4f0c", publishes=True)

    page = report.markdown(failed_model, PARENTS, reader=reader)

    run = "https://shop.example/reader/runs/4f0c"
    assert f"In the reader: [this run]({run}) · [what it published]({run}/generation) · [its docs]({run}/docs)" in page
    assert "[its history](https://shop.example/reader/generations/current/nodes/model.shop.fct_orders)" in page
    assert "eader" not in report.markdown(failed_model, PARENTS)


def test_the_page_says_who_was_skipped_because_of_whom(failed_model: RunReport) -> None:
    page = report.markdown(failed_model, PARENTS)

    assert "| model fct\\_orders | 3 | model top\\_customer, model rich\\_customers, test not\\_null" in page


def test_a_failed_test_skips_what_is_built_on_the_tested_model(tmp_path: Path) -> None:
    causes = failure_graph.causes(read("failed_test", tmp_path), PARENTS)

    names = {skipped: {cause.name for cause in found} for skipped, found in causes.items()}
    assert names["model.shop.fct_orders"] == {"unique_stg_orders_customer"}


def test_a_failed_unit_test_skips_its_own_model(tmp_path: Path) -> None:
    failed = read("failed_unit_test", tmp_path)

    graph = failure_graph.mermaid(failed, PARENTS)

    [[cause]] = failure_graph.causes(failed, PARENTS).values()
    assert cause.name == "fct_orders::sums_amounts"
    assert "n0 --> n1" in graph
    assert "n1 --> n0" not in graph


def test_the_freshness_table_has_ages_against_thresholds(tmp_path: Path) -> None:
    page = report.markdown(read("freshness_error", tmp_path), {})

    assert "| raw.late | warn | 30 h 5 min | 24 h | 3 d |" in page
    assert "| raw.stale | error | 4 d 4 h | 24 h | 3 d |" in page


def test_the_graph_draws_what_failed_what_it_skipped_and_its_parents(failed_model: RunReport) -> None:
    graph = failure_graph.mermaid(failed_model, PARENTS).splitlines()

    assert graph[:11] == [
        "graph LR",
        '  n0["model fct_orders"]:::failed',
        '  n1["model top_customer"]:::skipped',
        '  n2["model rich_customers"]:::skipped',
        '  n3["test not_null_top_customer_customer"]:::skipped',
        '  n4["model stg_orders"]:::ok',
        "  n4 --> n0",
        "  n0 --> n1",
        "  n0 --> n2",
        "  n1 --> n3",
        "  classDef failed fill:#fde2e1,stroke:#b42318,color:#5c1410",
    ]


def test_a_graph_of_many_nodes_draws_sixty_and_counts_the_rest() -> None:
    nodes = [node("root", ERROR), *(node(f"m{number}", SKIPPED) for number in range(2000))]
    parents = {child.node_id: ["model.shop.root"] for child in nodes[1:]}

    graph = failure_graph.mermaid(RunReport("1", tuple(nodes), 1.0), parents)

    assert graph.count(":::skipped") == 60  # 59 of them and the one that counts
    assert '  more["and 1941 more"]:::skipped' in graph


def test_names_in_the_graph_cannot_break_it() -> None:
    odd = NodeResult('model.shop.a"]; end', "model", 'a"]; end', ERROR, 1.0, None, "")

    assert '  n0["model a#34;#93;#59; end"]:::failed' in failure_graph.mermaid(RunReport("1", (odd,), 1.0), {})


def test_a_run_without_a_failure_has_no_graph(tmp_path: Path) -> None:
    assert failure_graph.mermaid(read("success", tmp_path), PARENTS) == ""


def test_nothing_in_a_message_ends_its_block_or_its_table_row() -> None:
    odd = NodeResult("model.shop.a", "model", "a", ERROR, 1.0, None, "```\n# title | <b>\n````", sql="select '```'")
    warned = NodeResult("test.shop.b", "test", "b", WARN, 1.0, None, "x | <script>\ny")

    page = report.markdown(RunReport("1", (odd, warned), 1.0), {})

    assert "`````text\n```\n# title | <b>\n````\n`````" in page
    assert "````sql\nselect '```'\n````" in page
    assert "| test b | x \\| \\<script\\> y |" in page


def test_long_sql_is_cut() -> None:
    long = NodeResult("model.shop.a", "model", "a", ERROR, 1.0, None, "x", sql="select 1, " * 9999)

    assert len(report.markdown(RunReport("1", (long,), 1.0), {})) < 6000


def test_the_slowest_ten_are_listed_slowest_first() -> None:
    nodes = tuple(node(f"m{number}", seconds=float(number)) for number in range(30))

    page = report.markdown(RunReport("1", nodes, 1.0), {})

    listed = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| model")]
    assert listed == [f"| model m{number}" for number in range(29, 19, -1)]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (59.96, "60.0 s"),
        (61, "1 min 1 s"),
        (12_000, "3 h 20 min"),
        (86_400, "24 h"),
        (108_000, "30 h"),
        (172_800, "2 d"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_duration_reads_as_people_say_it(seconds: float, words: str) -> None:
    assert report.duration(seconds) == words
