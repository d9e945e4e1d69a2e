"""One project on each kind of warehouse, on a cluster of its own: how long a build is, and what it costs."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import initialized
import s3
from bench.measure import ratio, spread
from kube import Cluster, command
from pod_postgres import PodPostgres
from pod_s3 import PodS3
from pod_trino import CATALOG, PORT, PodTrino
from release import Release

ROUNDS = 5
ROWS = (1_000_000, 8_000_000)
HEADER = (
    "| rows | kind | a build, s | ratio to file | CPU of the cluster, s | ratio to file | stored, MB |\n"
    + "|---" * 7
    + "|"
)
_CLUSTER, _NAME, _PASSWORD = "dbtpod-growth", "tpch", "growth-4711"
# A project like TPC-H, in the SQL that DuckDB and Trino share; it makes its own rows, so many as `rows` says. Its
# dbt_project.yml is not there, as this repository has one dbt project.
_PROJECT = Path(__file__).parent / "tpch"
_SETTINGS = "name: tpch\nprofile: tpch\nmodels: {+materialized: table}\nvars: {rows: 1000000}\n"
_NODE = f"{_CLUSTER}-control-plane"
# All processes of the node, also those that are gone: by cgroup v2, or v1.
_CPU = "cat /sys/fs/cgroup/cpu.stat 2>/dev/null || sed 's/^/usage_nsec /' /sys/fs/cgroup/cpuacct/cpuacct.usage"
_VOLUMES = "/var/local-path-provisioner"
_FILE = "{type: duckdb, path: warehouse.duckdb, threads: 2}"
_LAKE = f"""
      type: duckdb
      path: ":memory:"
      database: shop
      threads: 2
      attach:
        - alias: shop
          path: "ducklake:postgres:host={{catalog}} dbname=postgres user=postgres password={_PASSWORD}"
          options: {{{{data_path: "s3://{s3.BUCKET}/tpch/", metadata_schema: shop}}}}
      secrets: [{{{{type: s3, key_id: {s3.KEY}, secret: {s3.SECRET}, endpoint: "{{files}}", url_style: path,
        use_ssl: false, region: us-east-1}}}}]"""
_TRINO = """
      {{type: trino, method: none, user: dbt, host: {host}, port: {port}, database: {catalog}, schema: shop,
        threads: 2}}"""
# A JVM takes what it is given, and Trino's own limit for a query is a third of that.
_WORKER_MEGABYTES = 2048


@dataclass(frozen=True)
class _Kind:
    """A kind of warehouse, while its servers run."""

    name: str
    # The profile's target.
    output: str
    base: tuple[str, ...]
    options: tuple[str, ...]
    # Bytes of what readers see.
    stored: Callable[[Release], int]


@dataclass
class _Costs:
    wall: list[float]
    cpu: list[float]
    stored: int


def table() -> Iterator[str]:
    """Measure; yield the lines of a markdown table."""
    yield HEADER
    found = {}
    with _cluster() as cluster:
        for kind in (_file, _ducklake, _trino):
            with kind(cluster) as one:
                found[one.name] = _measure(cluster, one)
    for rows in ROWS:
        bare = found["file"][rows]
        for name, by_rows in found.items():
            costs = by_rows[rows]
            yield (
                f"| {rows:,} | {name} | {spread(costs.wall)} | {ratio(costs.wall, bare.wall)} | {spread(costs.cpu)} | "
                f"{ratio(costs.cpu, bare.cpu)} | {costs.stored / 1e6:.0f} |"
            )


@contextmanager
def _cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory() as folder:
        one = Cluster(_CLUSTER, Path(folder) / "kubeconfig")
        at = ("--name", _CLUSTER, "--kubeconfig", str(one.kubeconfig))
        if _CLUSTER in command("kind", "get", "clusters").split():
            command("kind", "delete", "cluster", *at)
        try:
            command("kind", "create", "cluster", *at, "--config", "k8s/kind.yaml", "--wait", "90s", seconds=300)
            yield one
        finally:
            command("kind", "delete", "cluster", *at)


@contextmanager
def _file(cluster: Cluster) -> Iterator[_Kind]:
    def stored(release: Release) -> int:
        return int(_in_node(f"stat -Lc %s {_VOLUMES}/*_{release.namespace}_*/published/current/warehouse.duckdb"))

    yield _Kind("file", _FILE, (), (), stored)


@contextmanager
def _ducklake(cluster: Cluster) -> Iterator[_Kind]:
    with _servers(cluster, "ducklake") as (catalog, files):
        output = _LAKE.format(catalog=catalog.host, files=files.address)
        options = ("--set-json", "warehouse.egress.ports=[5432, 7070]", "--set", "warehouse.keepGenerations=1")
        yield _Kind("ducklake", output, ("WITH=ducklake",), options, lambda _: _bytes(files, "tpch"))


@contextmanager
def _trino(cluster: Cluster) -> Iterator[_Kind]:
    with _servers(cluster, "trino") as (catalog, files):
        one = PodTrino(cluster, "growth-trino", catalog, _PASSWORD, files, _WORKER_MEGABYTES)
        try:
            one.start()
            output = _TRINO.format(host=one.host, port=PORT, catalog=CATALOG)
            yield _Kind("trino", output, ("EXTRA_PACKAGES=dbt-trino",), (), lambda _: _bytes(files, "warehouse"))
        finally:
            one.remove()


@contextmanager
def _servers(cluster: Cluster, name: str) -> Iterator[tuple[PodPostgres, PodS3]]:
    catalog, files = PodPostgres(cluster, f"growth-{name}-catalog"), PodS3(cluster, f"growth-{name}-files")
    with ExitStack() as servers:
        catalog.prepare()
        servers.callback(catalog.remove)
        catalog.start(_PASSWORD)
        servers.callback(files.remove)
        files.start()
        yield catalog, files


def _bytes(files: PodS3, folder: str) -> int:
    return int(files.shell(f"du --summarize --bytes /data/{s3.BUCKET}/{folder}").split()[0])


def _measure(cluster: Cluster, kind: _Kind) -> dict[int, _Costs]:
    """Build each size, in turn, the first time without being counted."""
    found = {rows: _Costs([], [], 0) for rows in ROWS}
    with tempfile.TemporaryDirectory() as folder, _release(cluster, kind, Path(folder)) as release:
        for number in range(ROUNDS + 1):
            for rows, costs in found.items():
                before = _cpu()
                wall = _build(release, rows)
                if number:
                    costs.wall.append(wall)
                    costs.cpu.append(_cpu() - before)
        for rows, costs in found.items():
            _build(release, rows)
            costs.stored = kind.stored(release)
    return found


@contextmanager
def _release(cluster: Cluster, kind: _Kind, folder: Path) -> Iterator[Release]:
    files = {str(path.relative_to(_PROJECT)): path.read_text() for path in _PROJECT.rglob("*") if path.is_file()}
    profile = f"tpch:\n  target: bench\n  outputs:\n    bench: {kind.output}\n"
    name = f"{_NAME}-{kind.name}"
    initialized.create(folder, files | {"dbt_project.yml": _SETTINGS, "profiles.yml": profile})
    cluster.load(initialized.image(name, folder, initialized.base(name, *kind.base)))
    cluster.namespace(name)
    initialized.give(cluster, name)
    release = initialized.install(cluster, name, folder, *kind.options, "--set", "environment.schedules=false")
    yield release
    initialized.remove(release)


def _build(release: Release, rows: int) -> float:
    """Build with so many rows; seconds from the request to the run's end."""
    request = {"command": "build", "vars": {"rows": rows}}
    run = release.prefect.ended(release.prefect.start_with("dbt-run/tpch-run", {"request": request}), 900)
    assert run["state"]["name"] == "Completed", release.prefect.page(run["id"])
    begun, ended = (datetime.fromisoformat(run[key]) for key in ("expected_start_time", "end_time"))
    return (ended - begun).total_seconds()


def _cpu() -> float:
    """CPU seconds of the cluster so far."""
    said = dict(line.split() for line in _in_node(_CPU).splitlines())
    return int(said["usage_usec"]) / 1e6 if "usage_usec" in said else int(said["usage_nsec"]) / 1e9


def _in_node(line: str) -> str:
    return command("docker", "exec", _NODE, "sh", "-c", line)
