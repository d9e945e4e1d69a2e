-- The views of a history file. Whatever counts days counts back from the newest run in the file, not from now: a file
-- that is read a year later says the same. No ICU is needed: times are cut into days as UTC, from their microseconds.

-- Each execution of a node or a test that came to an end of its own, with the time at which it began: that of its
-- command where dbt says none. Not what was skipped or interrupted.
CREATE OR REPLACE VIEW executions AS
SELECT
    each.run_id, each.command, each.attempt, each.node_id, each.kind, each.name, each.status,
    each.status IN ('error', 'fail', 'partial success', 'runtime error') AS failed,
    coalesce(each.started, commands.started, runs.started) AS began,
    each.seconds, each.message
FROM (
    SELECT run_id, command, attempt, node_id, kind, name, status, started, seconds, message FROM nodes
    UNION ALL
    SELECT run_id, command, attempt, node_id, 'test', name, status, started, seconds, message FROM tests
) AS each
LEFT JOIN commands
    ON commands.run_id = each.run_id AND commands.number = each.command AND commands.attempt = each.attempt
LEFT JOIN runs ON runs.run_id = each.run_id
WHERE each.status IN ('success', 'pass', 'warn', 'error', 'fail', 'partial success', 'runtime error');

-- Where the time goes: each node and test that ended well in the last 30 days, the one with most seconds first.
-- `share` is its part of the seconds of all of them.
CREATE OR REPLACE VIEW slowest_nodes AS
SELECT
    node_id, any_value(kind) AS kind, any_value(name) AS name, count(*) AS executions,
    median(seconds) AS median_seconds, max(seconds) AS longest_seconds, sum(seconds) AS total_seconds,
    sum(seconds) / nullif(sum(sum(seconds)) OVER (), 0) AS share,
    arg_max(seconds, began) AS last_seconds, arg_max(run_id, began) AS last_run_id
FROM executions
WHERE NOT failed AND seconds IS NOT NULL
    AND epoch_us(began) >= (SELECT max(epoch_us(started)) FROM runs) - 30 * 86400000000
GROUP BY node_id
ORDER BY total_seconds DESC, node_id;

-- Nodes and tests whose latest good execution took longer than usual. Usual is the median of the good ones before it:
-- 5 at least, the latest 30 at most. `spread` is 1.4826 times the median distance from that median, which is the
-- standard deviation where times are normally distributed, and which one outlier does not move. Longer than usual is
-- longer by 3 spreads, by a fifth and by half a second: all three.
CREATE OR REPLACE VIEW slower_than_usual AS
WITH numbered AS (
    SELECT *, row_number() OVER (PARTITION BY node_id ORDER BY began DESC, attempt DESC) AS back
    FROM executions
    WHERE NOT failed AND seconds IS NOT NULL
),
before AS (
    SELECT node_id, median(seconds) AS usual_seconds, 1.4826 * mad(seconds) AS spread, count(*) AS compared_with
    FROM numbered
    WHERE back BETWEEN 2 AND 31
    GROUP BY node_id
)
SELECT
    latest.node_id, latest.kind, latest.name, latest.seconds, before.usual_seconds, before.spread,
    before.compared_with, latest.seconds / nullif(before.usual_seconds, 0) AS times_slower, latest.began, latest.run_id
FROM numbered AS latest
JOIN before USING (node_id)
WHERE latest.back = 1 AND before.compared_with >= 5
    AND latest.seconds > before.usual_seconds
        + greatest(3 * before.spread, 0.2 * before.usual_seconds, 0.5)
ORDER BY latest.seconds - before.usual_seconds DESC, latest.node_id;

-- Tests that changed between passing and failing twice or more within their last 20 executions. A warning counts as
-- passing, an error as failing. One change is a break or a repair; what goes and comes back may be the test's own doing.
CREATE OR REPLACE VIEW flaky_tests AS
WITH numbered AS (
    SELECT *, row_number() OVER (PARTITION BY node_id ORDER BY began DESC, attempt DESC) AS back
    FROM executions
    WHERE kind = 'test'
),
compared AS (
    SELECT *, lag(failed) OVER (PARTITION BY node_id ORDER BY back DESC) AS failed_before
    FROM numbered
    WHERE back <= 20
)
SELECT
    node_id, any_value(name) AS name, count(*) AS executions, count(*) FILTER (failed) AS failed,
    count(*) FILTER (failed <> failed_before) AS changes, arg_min(status, back) AS last_status,
    max(began) FILTER (failed) AS last_failed, max(began) AS last_executed, arg_min(run_id, back) AS last_run_id
FROM compared
GROUP BY node_id
HAVING changes >= 2
ORDER BY changes DESC, node_id;

-- Nodes and tests whose latest execution failed: since when without a good one between, by which run, how often in a
-- row. One that was not executed in the last 30 days is left out: it may be in the project no more.
CREATE OR REPLACE VIEW failing_since AS
WITH good AS (
    SELECT node_id, max(began) AS began FROM executions WHERE NOT failed GROUP BY node_id
)
SELECT
    bad.node_id, any_value(bad.kind) AS kind, any_value(bad.name) AS name, min(bad.began) AS since,
    arg_min(bad.run_id, bad.began) AS since_run_id, count(*) AS in_a_row, max(bad.began) AS last_at,
    arg_max(bad.run_id, bad.began) AS last_run_id, arg_max(bad.message, bad.began) AS message
FROM executions AS bad
LEFT JOIN good ON good.node_id = bad.node_id
WHERE bad.failed AND (good.began IS NULL OR bad.began > good.began)
GROUP BY bad.node_id
HAVING max(epoch_us(bad.began)) >= (SELECT max(epoch_us(started)) FROM runs) - 30 * 86400000000
ORDER BY since, bad.node_id;

-- Each table of each published generation, with what was added to or removed from it since the generation before.
CREATE OR REPLACE VIEW rows_over_time AS
SELECT
    schema, name, kind, generation, run_id, "at", rows, bytes,
    rows - lag(rows) OVER one AS rows_added, bytes - lag(bytes) OVER one AS bytes_added
FROM relations
WINDOW one AS (PARTITION BY schema, name ORDER BY generation)
ORDER BY schema, name, generation;

-- For each day, in UTC, and each deployment: its runs, those that did not complete, and the seconds that pods had them.
CREATE OR REPLACE VIEW pod_seconds AS
SELECT
    CAST(make_timestamp(epoch_us(started)) AS DATE) AS day, deployment, flow, count(*) AS runs,
    count(*) FILTER (state IN ('failed', 'crashed')) AS not_completed,
    sum(runs.pod_seconds) AS pod_seconds
FROM runs
WHERE started IS NOT NULL
GROUP BY ALL
ORDER BY day, deployment, flow;
