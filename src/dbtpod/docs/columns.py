"""From which columns of its parents each column of a model is made: the column lineage of a manifest, by sqlglot.

sqlglot is in the image already, with dbt. dbt-colibri was tried (0.3.7), and is no faster: it calls a changed copy of
sqlglot's lineage for each column anew, where sqlglot's own does all columns at once. It needs a catalog.json and
sqlglot's compiled half, makes a page of its own, and of a model that it cannot analyse its log alone says so.

An ephemeral model is a node like any other here. dbt puts its SQL into that of each model that reads it; what it is
called there is looked at as a table, with the columns that its own SQL has.
"""

import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.lineage import Node, lineage
from sqlglot.optimizer.qualify_tables import qualify_tables
from sqlglot.schema import MappingSchema

from dbtpod.docs.tables import Place, Table

_DIALECT = "duckdb"
# What dbt calls an ephemeral model in the SQL of others, and the schema that it is looked at in.
_CTE, _EPHEMERAL = "__dbt__cte__", "(ephemeral)"
_ANALYSED = ("model", "snapshot")
# Columns that a snapshot has of dbt's own.
_SNAPSHOT = "dbt_"
# CPU time for one model: the parser's worst cases must not take the others' lineage with them.
NODE_SECONDS = 20.0
_DEFAULT_SCHEMA = "main"
_NO_SQL = "Its SQL is not known: this build did not run it, and no kept run compiled it as it is now."


@dataclass
class Found:
    """The parents' columns by column, and why that is not all, if it is not."""

    columns: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    problem: str = ""


def of(manifest: Mapping[str, Any], compiled: Mapping[str, str], tables: Iterable[Table]) -> dict[str, Any]:
    """Return {"nodes": {id: {"columns": {column: [[parent's id, its column], …]}, "problem": text}}}.

    Each model and snapshot is in it: one that cannot be analysed has a problem, and never ends the others.
    """
    project = _Project(manifest, compiled, tables)
    nodes = {
        node_id: {"columns": found.columns, "problem": found.problem}
        for node_id in manifest["nodes"]
        if (found := project.lineage(node_id)) is not None
    }
    return {"nodes": nodes}


class _Project:
    """The nodes by their relations, and what is found of them so far."""

    def __init__(self, manifest: Mapping[str, Any], compiled: Mapping[str, str], tables: Iterable[Table]) -> None:
        self._nodes: Mapping[str, Mapping[str, Any]] = manifest["nodes"]
        self._compiled = compiled
        self._found: dict[str, Found | None] = {}
        # The columns of each relation, in its order: as they are compared, and as they are written.
        self._spelled = {table.key: {one.name.lower(): one.name for one in table.columns} for table in tables}
        self._ephemeral: dict[str, str] = {}
        self._owners: dict[Place, list[str]] = {}
        for node_id, node in [*self._nodes.items(), *manifest["sources"].items()]:
            self._note(node_id, node)
        self._named: dict[str, list[Place]] = {}
        for place in self._spelled:
            self._named.setdefault(place[2], []).append(place)

    def _note(self, node_id: str, node: Mapping[str, Any]) -> None:
        if node["resource_type"] not in (*_ANALYSED, "seed", "source"):
            return
        name = str(node.get("identifier") or node.get("alias") or node["name"])
        if (node.get("config") or {}).get("materialized") == "ephemeral":
            self._ephemeral[f"{_CTE}{name}".lower()] = node_id
            return
        places = [_place(node, str(node["schema"]), name)]
        # A source may be files: what stands in the SQL is then no name of a relation.
        if node["resource_type"] == "source" and node.get("relation_name"):
            places += _written(str(node["relation_name"]), places[0][0])
        for place in places:
            self._owners.setdefault(place, []).append(node_id)

    def lineage(self, node_id: str) -> Found | None:
        """Return that of one node; None of a kind that has none."""
        if node_id not in self._found:
            # Its own ancestor it is in a broken manifest alone.
            self._found[node_id] = Found(problem="It is its own ancestor.")
            self._found[node_id] = self._analysed(node_id)
        return self._found[node_id]

    def _analysed(self, node_id: str) -> Found | None:
        node = self._nodes[node_id]
        if node.get("resource_type") not in _ANALYSED:
            return None
        if node.get("language") != "sql":
            return Found(problem=f"It is written in {node.get('language')}: only SQL is analysed.")
        sql = self._compiled.get(node_id)
        if not sql:
            return Found(problem=_NO_SQL)
        try:
            with _bounded(NODE_SECONDS):
                return self._of_sql(node, sql)
        except _TooLongError:
            return Found(problem=f"sqlglot took longer than {NODE_SECONDS:.0f} s for its SQL.")
        except MemoryError:
            return Found(problem="sqlglot needs more memory for its SQL than it may take.")
        except RecursionError:
            return Found(problem="Its SQL is nested too deeply for sqlglot.")
        except Exception as error:
            return Found(problem=f"sqlglot cannot analyse its SQL: {_first_line(error)}")

    def _of_sql(self, node: Mapping[str, Any], sql: str) -> Found:
        parsed = parse_one(sql, dialect=_DIALECT)
        if any(union.args.get("by_name") for union in parsed.find_all(exp.SetOperation)):
            return Found(problem="It has UNION BY NAME, which sqlglot's lineage matches by position.")
        spelled = {one.name.lower(): one.name for one in parsed.find_all(exp.Identifier)}
        schema = self._schema(parsed, self._with_ephemeral(parsed))
        database = str(node.get("database")).lower()
        found = lineage(None, parsed, schema, dialect=_DIALECT, copy=False, db=_DEFAULT_SCHEMA, catalog=database)
        if not found:
            return Found(problem="Its SQL selects no column.")
        name = str(node.get("alias") or node["name"])
        return self._described(node, found, self._spelled.get(_place(node, str(node["schema"]), name)), spelled)

    def _with_ephemeral(self, parsed: exp.Expr) -> set[str]:
        """Have the query read ephemeral models as tables; return the names of those that it reads."""
        with_ = parsed.args.get("with_")
        if with_ is None:
            return set()
        names = {cte.alias.lower() for cte in with_.expressions} & self._ephemeral.keys()
        if names:
            with_.set("expressions", [cte for cte in with_.expressions if cte.alias.lower() not in names])
            if not with_.expressions:
                parsed.set("with_", None)
        for table in parsed.find_all(exp.Table):
            if not table.db and table.name.lower() in names:
                if not table.alias:
                    table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name)))
                table.set("db", exp.to_identifier(_EPHEMERAL, quoted=True))
                table.set("catalog", exp.to_identifier(_EPHEMERAL, quoted=True))
        return names

    def _schema(self, parsed: exp.Expr, ephemeral: Iterable[str]) -> MappingSchema:
        """Return the tables that the query may read: a schema of all would be copied for each query."""
        mapping: dict[str, dict[str, dict[str, object]]] = {}

        def add(place: Place, columns: Iterable[str]) -> None:
            catalog, schema, name = place
            mapping.setdefault(catalog, {}).setdefault(schema, {})[name] = dict.fromkeys(columns, "UNKNOWN")

        for named in {table.name.lower() for table in parsed.find_all(exp.Table)}:
            for place in self._named.get(named, ()):
                add(place, self._spelled[place])
        for name in ephemeral:
            add((_EPHEMERAL, _EPHEMERAL, name), self._ephemeral_columns(name))
        return MappingSchema(dict(mapping), dialect=_DIALECT, normalize=False)

    def _ephemeral_columns(self, name: str) -> list[str]:
        found = self.lineage(self._ephemeral[name])
        return [column.lower() for column in found.columns] if found else []

    def _described(
        self,
        node: Mapping[str, Any],
        found: Mapping[str, Node],
        actual: Mapping[str, str] | None,
        spelled: Mapping[str, str],
    ) -> Found:
        """Write the columns as the relation has them, with their parents; and what of them is not known."""
        names = _names(list(found), actual, spelled)
        result, unknown, strangers = Found(), set[str](), set[str]()
        for column, name in names.items():
            parents, problems, other = self._parents(node, found[column])
            strangers |= other
            # Where the relation is there, its columns say what a star stands for.
            if problems and not (actual and column == "*"):
                unknown.add(name)
            if column != "*":
                result.columns[name] = parents
        if actual:
            missing = [name for name in actual.values() if name not in result.columns]
            is_snapshot = node["resource_type"] == "snapshot"
            unknown |= {name for name in missing if not (is_snapshot and name.startswith(_SNAPSHOT))}
        result.problem = " ".join(
            [
                *([f"It reads what is no node of the project: {_listed(strangers)}."] if strangers else []),
                *([f"Where these columns come from is not known: {_listed(unknown)}."] if unknown else []),
            ]
        )
        return result

    def _parents(self, node: Mapping[str, Any], root: Node) -> tuple[list[tuple[str, str]], list[str], set[str]]:
        """Return the parents' columns, the names of columns that no table has, and the relations that are no node's."""
        parents = set[tuple[str, str]]()
        known, lost, strangers = set(), [], set[str]()
        for leaf in root.walk():
            source = leaf.expression
            if isinstance(source, exp.Table):
                known.add(leaf.name)
                owner = self._owner(node, source)
                column = _column(leaf.name)
                if column == "*":
                    lost.append(leaf.name)
                elif owner:
                    parents.add((owner, self._written(source, column)))
                if owner is None and isinstance(source.this, exp.Identifier):
                    strangers.add(".".join(part.name for part in source.parts))
            elif leaf.name == "*" or isinstance(source, exp.Placeholder):
                lost.append(leaf.name)
        # A recursive query's own column has no table there, under a name that has one.
        return sorted(parents), [name for name in lost if name.endswith("*") or name not in known], strangers

    def _owner(self, node: Mapping[str, Any], table: exp.Table) -> str | None:
        place = _key(table)
        if place[0] == _EPHEMERAL:
            return self._ephemeral[place[2]]
        owners = self._owners.get(place, [])
        # Of a source and a model with one relation, the one that the model names.
        named = (node.get("depends_on") or {}).get("nodes") or ()
        return next((owner for owner in owners if owner in named), owners[0] if owners else None)

    def _written(self, table: exp.Table, column: str) -> str:
        place = _key(table)
        if place[0] == _EPHEMERAL:
            found = self.lineage(self._ephemeral[place[2]])
            return next((name for name in (found.columns if found else ()) if name.lower() == column), column)
        return self._spelled.get(place, {}).get(column, column)


def _names(found: Sequence[str], actual: Mapping[str, str] | None, spelled: Mapping[str, str]) -> dict[str, str]:
    """Return how each column of a query is written: DuckDB and sqlglot name an expression differently."""
    if actual is None:
        return {column: spelled.get(column, column) for column in found}
    by_place = list(actual.values()) if len(actual) == len(found) and "*" not in found else []
    free = {name for lower, name in actual.items() if lower not in found}
    names = {}
    for index, column in enumerate(found):
        other = by_place[index] if by_place and by_place[index] in free else None
        name = actual.get(column) or other
        if name or column == "*":
            names[column] = name or column
    return names


def _place(node: Mapping[str, Any], schema: str, name: str) -> Place:
    return str(node.get("database")).lower(), schema.lower(), name.lower()


def _written(relation: str, catalog: str) -> Iterator[Place]:
    """Yield the place that the name of a source's relation has in SQL, if it is one that SQL can have."""
    try:
        query = qualify_tables(
            parse_one(f"SELECT * FROM {relation}", dialect=_DIALECT),  # noqa: S608
            db=_DEFAULT_SCHEMA,
            catalog=catalog,
            dialect=_DIALECT,
        )
    except Exception:
        return
    for table in query.find_all(exp.Table):
        yield _key(table)


def _key(table: exp.Table) -> Place:
    """Return where a table of a query is; of a function that gives one, such as read_csv, how it is called."""
    if not isinstance(table.this, exp.Identifier):
        return "", "", table.this.sql(dialect=_DIALECT).lower()
    return table.catalog.lower(), table.db.lower(), table.name.lower()


@lru_cache(maxsize=10_000)
def _column(name: str) -> str:
    """Return the column of a leaf, which is written `table.column`, each with quotes where it needs them."""
    return "*" if name.endswith("*") else exp.to_column(name).name


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - 10} more" if len(found) > 10 else ""
    return ", ".join(found[:10]) + more


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split("\n", 1)[0].split())
    return (text or type(error).__name__)[:300]


class _TooLongError(BaseException):
    """No Exception: sqlglot makes errors in SQL of those."""


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """_TooLongError once the block has taken that much CPU time; for the main thread. One may be in another."""

    def end(*_: object) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGVTALRM, end)
    # Again each second: an exception out of a garbage collector's call is lost.
    left, _ = signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, left, 1.0 if left else 0)
        signal.signal(signal.SIGVTALRM, before)
