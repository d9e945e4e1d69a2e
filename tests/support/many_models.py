"""A project of 200 models in ten chains: m150 fails in its first version, and m170 waits for a gate if CASE is pauses.

The first model of each chain holds a stamp of the dbt command that built it, and all that follow have it from there. A
file whose tables do not all have one stamp is not one build.
"""

from collections.abc import Mapping

NUMBER, CHAINS, ROWS = 200, 10, 50
BROKEN, WAITING = 150, 170
# What a fix of m150 has to build.
LEFT = {f"m{number:03}" for number in range(BROKEN, NUMBER, CHAINS)}

_SETTINGS = "name: many\nprofile: dbtpod\nmodels: {+materialized: table}\n"
_FIRST = f"select '{{{{ invocation_id }}}}' as stamp, range as id, hash(range) % 1000 as value from range({ROWS})"
_NEXT = "select stamp, id, value * 3 + {number} as value from {{{{ ref('m{parent:03}') }}}}"
_WRONG = "select stamp, id, valeu as value from {{{{ ref('m{parent:03}') }}}}"
_PAUSING = """
import os, time

def model(dbt, session):
    parent = dbt.ref("m{parent:03}")
    while os.environ.get("CASE") == "pauses" and not os.path.exists("/data/gate"):
        time.sleep(0.1)
    return parent.project("stamp, id, value * 3 + {number} as value")
"""

# Reads what is published until there is a file /data/enough; what it printed is of no use if one read was wrong.
READ = """
import json, pathlib, sys, time
import duckdb

number_of_models, rows = map(int, sys.argv[1:])
names = [f"m{number:03}" for number in range(number_of_models)]
each = " union all ".join(f"select min(stamp) a, max(stamp) b, count(*) n from {name}" for name in names)
reads, seen = 0, []
while not pathlib.Path("/data/enough").exists():
    with duckdb.connect("/data/published/current/warehouse.duckdb", read_only=True) as db:
        db.execute("set enable_progress_bar = false")
        found = db.execute(f"select min(a), max(b), min(n), max(n), count(*) from ({each})").fetchone()
    assert found[0] == found[1] and found[2:] == (rows, rows, len(names)), found
    seen += [found[0]] if found[0] not in seen[-1:] else []
    reads += 1
    time.sleep(0.1)
print(json.dumps({"reads": reads, "seen": seen}))
"""
# The content of each table of a file, without the stamps.
CONTENT = """
import json, sys
import duckdb

with duckdb.connect(sys.argv[1], read_only=True) as db:
    db.execute("set enable_progress_bar = false")
    names = [name for (name,) in db.execute("select table_name from duckdb_tables() order by all").fetchall()]
    print(json.dumps({name: str(db.execute(
        f"select count(*), bit_xor(hash(each)) from (select * exclude (stamp) from {name}) each"
    ).fetchone()) for name in names}))
"""


def files(*, fixed: bool) -> Mapping[str, str]:
    """Each file of the project by its path in the image."""
    texts = {"dbt_project/dbt_project.yml": _SETTINGS}
    for number in range(NUMBER):
        ending = "py" if number == WAITING else "sql"
        texts[f"dbt_project/models/m{number:03}.{ending}"] = _model(number, fixed)
    return texts


def _model(number: int, fixed: bool) -> str:
    if number < CHAINS:
        return _FIRST
    form = _PAUSING if number == WAITING else _WRONG if number == BROKEN and not fixed else _NEXT
    return form.format(number=number, parent=number - CHAINS)
