"""The Secret with the server's user and password, created once: no manifest, and no render, ever holds it.

Its account may create Secrets, and annotate this one, and nothing else; it cannot list or read them.
"""

import secrets
from collections.abc import Mapping

import httpx

from dbtpod.errors import SettingsError

KEY = "auth-string"
# Helm deletes what an earlier chart had in its manifest, unless the object itself says this.
KEEP = {"metadata": {"annotations": {"helm.sh/resource-policy": "keep"}}}


def ensure(kubernetes: httpx.Client, namespace: str, name: str, labels: Mapping[str, str]) -> str:
    """Create the Secret where there is none of that name, and return what was done; one that is there is kept."""
    path = f"/api/v1/namespaces/{namespace}/secrets"
    # Letters and digits only: it is typed, and put into URLs and shells.
    password = secrets.token_hex(16)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": name, "labels": dict(labels), **KEEP["metadata"]},
        "stringData": {KEY: f"admin:{password}"},
    }
    try:
        created = kubernetes.post(path, json=secret)
    except httpx.TransportError as error:
        raise SettingsError(f"Kubernetes' API does not answer: {type(error).__name__} {error}".strip()) from error
    if created.is_success:
        return f"The Secret {name} was created."
    if created.status_code != httpx.codes.CONFLICT:
        raise SettingsError(f"The Secret {name} could not be created: {_message(created)}")
    kept = kubernetes.patch(f"{path}/{name}", json=KEEP, headers={"Content-Type": "application/merge-patch+json"})
    if not kept.is_success:
        raise SettingsError(f"The Secret {name} is there, but could not be marked as kept: {_message(kept)}")
    return f"The Secret {name} is there already: its password stays."


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
