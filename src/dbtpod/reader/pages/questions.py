"""What the pages ask the history (docs/history.md), in SQL."""

# How a node or a test ended that failed: as views.sql counts them.
BAD = ("error", "fail", "partial success", "runtime error")
_SECONDS = "(epoch_us(ended) - epoch_us(started)) / 1e6 AS seconds"
_RUN = f"run_id, name, flow, deployment, started, ended, state, message, generation, base, only_reads, {_SECONDS}"
_NEWEST_FIRST = "ORDER BY started DESC NULLS LAST, run_id"

# The overview
LAST_RUNS = f"SELECT {_RUN} FROM runs {_NEWEST_FIRST} LIMIT $1"  # noqa: S608
# Of the last seven days in the file.
WEEK = """
    SELECT count(*) AS runs, count(*) FILTER (state = 'completed') AS completed,
        count(*) FILTER (state IN ('failed', 'crashed')) AS bad, sum(pod_seconds) AS pod_seconds
    FROM runs WHERE epoch_us(started) >= (SELECT max(epoch_us(started)) FROM runs) - 7 * 86400000000"""
FAILING = """
    SELECT node_id, kind, name, since, since_run_id, in_a_row, last_at, last_run_id, message FROM failing_since"""
SLOWER = """
    SELECT node_id, kind, name, seconds, usual_seconds, times_slower, began, run_id FROM slower_than_usual LIMIT 5"""

# Runs
COUNT_RUNS = "SELECT count(*) AS n FROM runs WHERE $1 = '' OR state = $1"
RUNS = f"""
    WITH shown AS (
        SELECT {_RUN}, pod_seconds, starts FROM runs WHERE $1 = '' OR state = $1 {_NEWEST_FIRST} LIMIT $2 OFFSET $3),
    -- The last attempt at a node says how it ended.
    ended AS (
        SELECT run_id, node_id, arg_max(status, command * 1000 + attempt) AS status
        FROM (SELECT run_id, node_id, command, attempt, status FROM nodes WHERE run_id IN (SELECT run_id FROM shown)
            UNION ALL
            SELECT run_id, node_id, command, attempt, status FROM tests WHERE run_id IN (SELECT run_id FROM shown))
        GROUP BY run_id, node_id),
    counted AS (
        SELECT run_id, count(*) AS nodes, count(*) FILTER (status = 'skipped') AS skipped,
            count(*) FILTER (status IN {BAD}) AS failures
        FROM ended GROUP BY run_id)
    SELECT shown.*, nodes, skipped, failures FROM shown LEFT JOIN counted USING (run_id) {_NEWEST_FIRST}"""  # noqa: S608
RUNS_DRAWN = f"""
    SELECT run_id, state, started, {_SECONDS} FROM runs
    WHERE started IS NOT NULL AND ended IS NOT NULL AND ($1 = '' OR state = $1)
    ORDER BY started DESC LIMIT 500"""  # noqa: S608

# One run
RUN = f"SELECT {_RUN}, pod_seconds, starts, dbtpod, dbt FROM runs WHERE run_id = $1"  # noqa: S608
COMMANDS = "SELECT * FROM commands WHERE run_id = $1 ORDER BY number, attempt"
RUN_NODES = """
    SELECT node_id, kind, name, status, command, attempt, started, seconds, thread, rows, NULL AS failures, message
    FROM nodes WHERE run_id = $1
    UNION ALL
    SELECT node_id, split_part(node_id, '.', 1), name, status, command, attempt, started, seconds, thread, NULL,
        failures, message
    FROM tests WHERE run_id = $1
    ORDER BY command, attempt, started NULLS LAST, node_id LIMIT 10000"""
SOURCE_CHECKS = "SELECT * FROM source_checks WHERE run_id = $1 ORDER BY command, attempt, name"
BEFORE_AND_AFTER = """
    SELECT (SELECT arg_max(run_id, started) FROM runs WHERE epoch_us(started) < epoch_us(this.started)) AS before,
        (SELECT arg_min(run_id, started) FROM runs WHERE epoch_us(started) > epoch_us(this.started)) AS after
    FROM runs AS this WHERE run_id = $1"""

# Nodes
NODES = """
    SELECT node_id, any_value(kind) AS kind, any_value(name) AS name, arg_max(status, began) AS last_status,
        max(began) AS last_at, arg_max(run_id, began) AS last_run_id,
        median(seconds) FILTER (NOT failed) AS median_seconds, count(*) AS executions
    FROM executions
    WHERE epoch_us(began) >= (SELECT max(epoch_us(started)) FROM runs) - 30 * 86400000000
    GROUP BY node_id"""
FLAKY = "SELECT node_id, executions, failed, changes FROM flaky_tests"

# One node
EXECUTIONS = """
    SELECT executions.run_id, executions.status, failed, began, executions.seconds, executions.message, rows, failures
    FROM executions
    LEFT JOIN nodes USING (run_id, command, attempt, node_id)
    LEFT JOIN tests USING (run_id, command, attempt, node_id)
    WHERE node_id = $1 ORDER BY began DESC, attempt DESC LIMIT 300"""
LAST_OF = """
    SELECT node_id, arg_max(status, began) AS status, max(began) AS began, arg_max(run_id, began) AS run_id,
        arg_max(message, began) AS message, count(*) AS executions, count(*) FILTER (failed) AS failed
    FROM executions WHERE node_id IN (SELECT unnest($1::VARCHAR[])) GROUP BY node_id"""
SIZES = """
    SELECT generation, run_id, "at", rows, bytes, rows_added FROM rows_over_time
    WHERE schema = $1 AND name = $2 ORDER BY "at" DESC LIMIT 500"""

# A generation
RELATIONS = """
    SELECT schema, name, kind, rows, bytes FROM relations WHERE generation = $1 ORDER BY schema, name LIMIT 5000"""
# Its DuckDB file, asked itself.
COLUMNS = """
    SELECT column_name AS name, data_type AS kind FROM duckdb_columns()
    WHERE database_name = 'opened' AND lower(schema_name) = lower($1) AND lower(table_name) = lower($2)
    ORDER BY column_index"""
IN_FILE = """
    SELECT schema_name AS schema, table_name AS name, 'table' AS kind, estimated_size AS rows, NULL AS bytes
    FROM duckdb_tables() WHERE database_name = 'opened' AND NOT internal
    UNION ALL
    SELECT schema_name, view_name, 'view', NULL, NULL
    FROM duckdb_views() WHERE database_name = 'opened' AND NOT internal
    ORDER BY 1, 2 LIMIT 5000"""
