"""The records of a DuckLake's builds in PostgreSQL, and the mark of the one that readers see.

<name>.dbtpod_lake      one row: the project and the target that it belongs to
<name>.dbtpod_builds    one row for each build that has a schema: working, published, or being removed
<name>.readable         what a reader without our volume asks for: the schema and the snapshot to attach with

All that changes them is for the session that has the lock.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from dbtpod.errors import DbtPodError, SettingsError, WarehouseUnusable
from dbtpod.warehouse.database import quoted
from dbtpod.warehouse.lake import copies, files
from dbtpod.warehouse.lake.session import Session
from dbtpod.warehouse.volume import Log

_FORMAT = 1
WORKING, PUBLISHED, REMOVING = "working", "published", "removing"
# Of builds that did not end well and may be continued: their files take room.
KEEP_FAILED = 2


@dataclass(frozen=True)
class Build:
    """One build, and the schema that is its catalog."""

    id: int
    schema: str
    run: str
    # The generation that it began from.
    base: int | None
    state: str
    # Of a generation: its number, the snapshot that readers attach with, and when it was published.
    number: int | None
    snapshot: int | None
    at: datetime | None
    is_current: bool


class Catalog:
    """What is known of the builds of one DuckLake."""

    def __init__(self, session: Session, log: Log) -> None:
        self._session = session
        self._log = log
        self.lake = session.lake
        self._builds = f"{quoted(self.lake.name)}.dbtpod_builds"

    def begin(self, project: str, target: str) -> None:
        """Make the records where there are none; SettingsError where they are another project's or target's."""
        name, owner = quoted(self.lake.name), f"{quoted(self.lake.name)}.dbtpod_lake"
        if self._session.ask("SELECT to_regclass(%s)", [owner]) == [(None,)]:
            with self._session.transaction():
                self._make(name, owner, project, target)
        [[found, of, of_target]] = self._session.ask(f"SELECT format, project, target FROM {owner}")
        if found != _FORMAT:
            raise WarehouseUnusable(
                f"The records of the {self.lake} are of another version of dbtpod (format {found}, here {_FORMAT}): "
                "use the image of that version. Nothing was changed."
            )
        if (of, of_target) != (project, target):
            raise SettingsError(
                f"The {self.lake} belongs to the project `{of}`, target `{of_target}`, and this is `{project}`, target "
                f"`{target}`: a build of one would take the place of the other's. Give this one another "
                "`metadata_schema` and `data_path` in its profile. Nothing was changed."
            )

    def all(self) -> list[Build]:
        """Return the builds, the oldest first."""
        rows = self._session.ask(
            "SELECT id, schema, run, base, state, number, snapshot, published, is_current "
            f"FROM {self._builds} ORDER BY id"
        )
        return [Build(*row) for row in rows]

    def published(self) -> list[Build]:
        """Return the generations, by number."""
        return sorted((one for one in self.all() if one.state == PUBLISHED), key=lambda one: one.number or 0)

    def current(self) -> Build | None:
        """Return the one that readers see; None before the first."""
        return next((one for one in self.all() if one.is_current), None)

    def working(self, run: str) -> Build | None:
        """Return what that run had built and did not publish."""
        return next((one for one in reversed(self.all()) if one.state == WORKING and one.run == run), None)

    def next_number(self) -> int:
        """Return a number that no generation had."""
        return max((one.number or 0 for one in self.all()), default=0) + 1

    def check_out(self, run: str) -> Build:
        """Make a catalog for the run's build: a copy of what is published, in one transaction."""
        session, base = self._session, self.current()
        source = base.schema if base else self.lake.name
        if not copies.exists(session, source):
            if base:
                raise WarehouseUnusable(
                    f"Generation {base.number} of the {self.lake} has lost its catalog, the schema {source}: bring it "
                    "back from a backup of PostgreSQL, or choose another one: dbtpod generations list, and rollback."
                )
            source = ""
        if source:
            copies.check(session, source, self.lake)
        with session.transaction():
            [[number]] = session.ask(
                f"INSERT INTO {self._builds} (schema, run, base, state) VALUES ('', %s, %s, %s) RETURNING id",
                [run, base and base.number, WORKING],
            )
            schema = f"{self.lake.name}_{number:06d}"
            session.ask(f"UPDATE {self._builds} SET schema = %s WHERE id = %s", [schema, number])
            copies.make(session, source or None, schema)
            if source:
                copies.forget_scheduled(session, schema)
        try:
            files.prepare(self.lake, schema)
            copies.forget_scheduled(session, schema)
        except DbtPodError:
            with suppress(DbtPodError), session.transaction():
                copies.drop(session, schema)
                session.ask(f"DELETE FROM {self._builds} WHERE id = %s", [number])
            raise
        return next(one for one in self.all() if one.id == number)

    def take_over(self, build: Build, run: str) -> None:
        """Make it another run's."""
        self._session.ask(f"UPDATE {self._builds} SET run = %s WHERE id = %s", [run, build.id])

    def publish(self, build: Build, number: int) -> int:
        """Make it the generation with that number, which readers see; return its snapshot.

        WarehouseUnusable where it is not that run's any more, or another one was published since it began.
        """
        session = self._session
        with session.transaction():
            session.check_lock()
            current = self.current()
            found = next((one for one in self.all() if one.id == build.id), None)
            if found is None or (found.state, found.run) != (WORKING, build.run):
                raise WarehouseUnusable(f"The build {build.schema} is not run {build.run}'s any more: run it again.")
            if (current and current.number) != build.base:
                raise WarehouseUnusable(
                    f"Generation {current and current.number} was published since the run {build.run} began from "
                    f"{build.base or 'nothing'}: nothing was published. Run it again."
                )
            snapshot = copies.snapshot(session, build.schema)
            self._grant(build.schema)
            session.ask(f"UPDATE {self._builds} SET is_current = false WHERE is_current")
            session.ask(
                f"UPDATE {self._builds} SET state = %s, number = %s, snapshot = %s, published = now(), "
                "is_current = true WHERE id = %s",
                [PUBLISHED, number, snapshot, build.id],
            )
        return snapshot

    def make_current(self, number: int) -> Build:
        """Have readers see that generation; the next build begins from it. WarehouseUnusable lists those there are."""
        there = {one.number: one for one in self.published()}
        if number not in there:
            names = ", ".join(map(str, there)) or "none"
            raise WarehouseUnusable(f"There is no generation {number} in the {self.lake}; there are: {names}.")
        copies.check(self._session, there[number].schema, self.lake)
        with self._session.transaction():
            self._session.ask(f"UPDATE {self._builds} SET is_current = false WHERE is_current")
            self._session.ask(f"UPDATE {self._builds} SET is_current = true WHERE id = %s", [there[number].id])
        return there[number]

    def expire(self, keep: int, run: str) -> None:
        """Remove what is kept no more, with the files that no other build names; what cannot be is a warning.

        Of generations that is all but `keep`: the current one, the one that it was built from, and the newest before
        it. Of others, those that cannot be continued, or are too many. Never what the run `run` has built.
        """
        for build in self._expired(keep, run):
            try:
                self.remove(build)
            except DbtPodError as error:
                self._log.warning("%s stays until the next run that builds: %s", build.schema, error)

    def remove(self, build: Build) -> None:
        """Delete its files that no other build names, and then its schema; not the one that readers see."""
        session = self._session
        session.ask(
            f"UPDATE {self._builds} SET state = %s, number = NULL WHERE id = %s AND NOT is_current",
            [REMOVING, build.id],
        )
        if copies.exists(session, build.schema):
            others = [one.schema for one in self.all() if one.id != build.id and one.state != REMOVING]
            # The catalog of before, if there was one: plain dbt has made it.
            kept = {
                path
                for schema in [self.lake.name, *others]
                if copies.exists(session, schema)
                for path in copies.files(session, schema, scheduled=False)
            }
            gone = copies.files(session, build.schema, scheduled=True) - kept
            copies.schedule(session, build.schema, gone)
            if gone:
                files.delete(self.lake, build.schema)
        with session.transaction():
            copies.drop(session, build.schema)
            session.ask(f"DELETE FROM {self._builds} WHERE id = %s AND state = %s", [build.id, REMOVING])

    def problems(self) -> list[str]:
        """Return what is wrong with the generations: catalogs, snapshots and files that are not there."""
        found = []
        for one in self.published():
            name = f"Generation {one.number} of the {self.lake}"
            if not copies.exists(self._session, one.schema):
                found.append(f"{name} has lost its catalog, the schema {one.schema}.")
            elif copies.snapshot(self._session, one.schema) != one.snapshot:
                found.append(f"{name}: somebody wrote to its catalog {one.schema} since it was published.")
            else:
                paths = copies.files(self._session, one.schema, scheduled=False)
                if gone := sorted(files.missing(self.lake, paths)):
                    found.append(f"{name} has lost {len(gone)} of {len(paths)} data files, such as {gone[0]}.")
        return found

    def _expired(self, keep: int, run: str) -> list[Build]:
        there = self.all()
        current = self.current()
        at = current.number if current else None
        base = current.base if current else None
        older = [one for one in there if one.state == PUBLISHED and at is not None and (one.number or 0) < at]
        older.sort(key=lambda one: (one.number == base, one.number))
        failed = [one for one in there if one.state == WORKING and one.run != run]
        may_continue = [one for one in failed if one.base == at][-KEEP_FAILED:]
        return [
            *(one for one in there if one.state == REMOVING),
            *older[: max(0, len(older) - keep + 1)],
            *(one for one in failed if one not in may_continue),
        ]

    def _make(self, name: str, owner: str, project: str, target: str) -> None:
        ask = self._session.ask
        ask(f"CREATE SCHEMA IF NOT EXISTS {name}")
        ask(f"CREATE TABLE {owner} (format int NOT NULL, project text NOT NULL, target text NOT NULL)")
        ask(f"INSERT INTO {owner} VALUES (%s, %s, %s)", [_FORMAT, project, target])
        ask(
            f"CREATE TABLE {self._builds} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, schema text NOT NULL, "
            "run text NOT NULL, base bigint, state text NOT NULL, number bigint UNIQUE, snapshot bigint, "
            "begun timestamptz NOT NULL DEFAULT now(), published timestamptz, "
            "is_current boolean NOT NULL DEFAULT false)"
        )
        ask(f"CREATE UNIQUE INDEX ON {self._builds} (is_current) WHERE is_current")
        ask(
            f"CREATE VIEW {name}.readable AS SELECT number AS generation, schema AS metadata_schema, "
            f"snapshot AS snapshot_version, published FROM {self._builds} WHERE is_current"
        )

    def _grant(self, schema: str) -> None:
        """Let those read it who may look into the schema of our records."""
        readers = self._session.ask(
            "SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END "
            "FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = %s AND a.privilege_type = 'USAGE' "
            "AND a.grantee <> n.nspowner",
            [self.lake.name],
        )
        for (reader,) in readers:
            self._session.ask(f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {reader}")
            self._session.ask(f"GRANT SELECT ON ALL TABLES IN SCHEMA {quoted(schema)} TO {reader}")
