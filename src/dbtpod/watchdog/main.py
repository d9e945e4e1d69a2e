"""The watchdog as a program, `dbtpod watchdog`: beside the worker in its pod."""

import argparse
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from dbtpod.watchdog import cluster, server
from dbtpod.watchdog.cluster import AUTHORITY, Cluster
from dbtpod.watchdog.health import Health
from dbtpod.watchdog.metrics import Metrics
from dbtpod.watchdog.owner import Owner
from dbtpod.watchdog.registration import Registration
from dbtpod.watchdog.rounds import Watchdog
from dbtpod.watchdog.server import Server
from dbtpod.watchdog.starting import Starting
from dbtpod.watchdog.successes import Successes
from dbtpod.watchdog.watch import Watch

ROUND_SECONDS = 5.0
# Less than health.STALE_SECONDS, more than a server takes that is only slow.
REQUEST_SECONDS = 20.0


def main(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Watch until the pod ends; what goes wrong is logged once and tried again."""
    options = _options(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stdout)
    kubernetes = cluster.connected(REQUEST_SECONDS)
    dog = watchdog(options, kubernetes, server.connected(environment, REQUEST_SECONDS))
    dog.health.serve(options.port, dog.metrics.text)
    while True:
        dog.round()
        dog.health.beat()
        time.sleep(ROUND_SECONDS if dog.served else 1)


def watchdog(options: argparse.Namespace, kubernetes: httpx.Client, prefect: httpx.Client) -> Watchdog:
    """Put the watchdog of these options together; each request that it begins is a beat of its loop."""
    health, watch = Health(), Watch()
    for http in (kubernetes, prefect):
        http.event_hooks["request"].append(lambda _: health.beat())
    own = Owner.of(f"{options.namespace}/{options.release}", AUTHORITY)
    release, one = Cluster(kubernetes, options.namespace, options.selector), Server(prefect, options.pool)
    return Watchdog(
        server=one,
        cluster=release,
        watch=watch,
        starting=Starting(release, one, watch, options.start_timeout_seconds),
        registration=Registration(one, release, watch, options.digest, options.register_job, options.worker, own),
        health=health,
        metrics=Metrics(),
        successes=Successes(one),
        worker=options.worker,
        late_runs=options.late_runs,
    )


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dbtpod watchdog", description=__doc__)
    for name, kind, meaning in (
        ("pool", str, "the work pool whose runs are watched"),
        ("worker", str, "the name of the worker beside it, which is its pod's"),
        ("namespace", str, "where the Jobs of the runs are"),
        ("release", str, "the name of this release, which owns the pool"),
        ("selector", str, "the labels of all objects of this release"),
        ("digest", str, "what has to be registered on the server"),
        ("register-job", Path, "file: the Job that registers it again"),
        ("start-timeout-seconds", float, "how long a pod may take to start: jobs.startTimeoutSeconds"),
        ("late-runs", int, "how many late runs of a deployment still run: worker.lateRuns"),
        ("port", int, "where the probes of both containers ask"),
    ):
        parser.add_argument(f"--{name}", type=kind, required=True, help=meaning)
    return parser.parse_args(arguments)
