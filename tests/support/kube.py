"""The kind cluster of the tests, and the commands that look into it from outside, as a user's shell does."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from waiting import until

REPO = Path(__file__).parents[2]
IMAGE = f"dbtpod-demo:{version('dbtpod')}"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


class CommandFailed(AssertionError):
    """A command ended with another exit code than 0; its text is the command and all it printed."""


def command(*argv: str, stdin: str | None = None, seconds: float = 120, **environment: str) -> str:
    """Run a command in the repository and return what it printed on stdout."""
    done = subprocess.run(
        argv,
        cwd=REPO,
        env={**os.environ, **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        raise CommandFailed(f"$ {' '.join(argv)}\n{done.stdout}{done.stderr}\nexit code {done.returncode}")
    return done.stdout


@dataclass(frozen=True)
class Cluster:
    """One kind cluster, reached by a kubeconfig of its own."""

    name: str
    kubeconfig: Path

    def kubectl(self, *args: str, stdin: str | None = None, seconds: float = 120) -> str:
        return command("kubectl", *args, stdin=stdin, seconds=seconds, KUBECONFIG=str(self.kubeconfig))

    def helm(self, *args: str, seconds: float = 300) -> str:
        return command("helm", *args, seconds=seconds, KUBECONFIG=str(self.kubeconfig))

    def load(self, *images: str) -> None:
        command("kind", "load", "docker-image", *images, "--name", self.name, seconds=300)

    def namespace(self, name: str) -> str:
        """Make a namespace that admits only pods of the restricted standard; one that is there is kept."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
        return name

    def apply(self, *objects: dict[str, Any]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--filename", "-", stdin=json.dumps(listed))

    def objects(self, kind: str, namespace: str, labels: str = "") -> list[dict[str, Any]]:
        args = ["--namespace", namespace, "--selector", labels, "--output", "json"]
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, *args))["items"]
        return found

    @contextmanager
    def forwarded(self, namespace: str, service: str, port: int) -> Iterator[str]:
        """Yield the address of a service on a free port of this machine."""
        argv = ["kubectl", "--namespace", namespace, "port-forward", f"service/{service}", f":{port}"]
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        out = self.kubeconfig.with_name(f"port-forward-{namespace}-{time.monotonic_ns()}.txt")
        with out.open("w") as file, subprocess.Popen(argv, env=environment, stdout=file, stderr=file) as forward:
            try:
                found = until(lambda: re.search(r"127\.0\.0\.1:\d+", out.read_text()), 30, "kubectl port-forward")
                yield f"http://{found[0]}"
            finally:
                forward.terminate()


def pod(name: str, argv: Sequence[str], labels: dict[str, str], volumes: dict[str, str]) -> dict[str, Any]:
    """A pod of the restricted standard with our image; `volumes` are claims by mount path."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "main",
                    "image": IMAGE,
                    "command": list(argv),
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": claim, "mountPath": path} for path, claim in volumes.items()],
                }
            ],
            "volumes": [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in volumes.values()],
        },
    }
