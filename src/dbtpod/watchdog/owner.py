"""Whose a work pool is: one release of one cluster. It is written in the pool's description, for people too.

A release is known by its namespace and name, and a cluster by its certificate authority, which each namespace has in
the ConfigMap kube-root-ca.crt: no token and no right is needed to read that. The uid of kube-system would need both, or
`lookup`, with which a chart that is rendered without a cluster is another one.
"""

import hashlib
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

_OWNER = re.compile(
    r"^Owner: release (?P<release>\S+) in namespace (?P<namespace>[^\s,]+)(?:, cluster (?P<cluster>\S+))?$", re.M
)
_BY = "Registered by dbtpod:"
_REGISTERED = re.compile(rf"^{_BY} (\S+)$", re.M)
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.S)


@dataclass(frozen=True)
class Owner:
    """A release; `clusters` are the short names of its cluster's certificate authorities, of which one is enough.

    >>> Owner.written("Owner: release shop in namespace prod, cluster 1a2b3c4d")
    Owner(namespace='prod', release='shop', clusters=frozenset({'1a2b3c4d'}))
    """

    namespace: str
    release: str
    clusters: frozenset[str] = frozenset()

    @classmethod
    def of(cls, release: str, authority: Path | None) -> "Owner":
        """Return the owner that is called `namespace/release`, in the cluster of this authority."""
        namespace, _, name = release.partition("/")
        return cls(namespace, name, fingerprints(authority))

    @classmethod
    def written(cls, description: str | None) -> "Owner | None":
        """Read the owner from a pool's description; None where it has none."""
        found = _OWNER.search(description or "")
        if not found:
            return None
        return cls(found["namespace"], found["release"], frozenset((found["cluster"] or "").split("+")) - {""})

    def __str__(self) -> str:
        """Name the owner as it is written."""
        cluster = f", cluster {'+'.join(sorted(self.clusters))}" if self.clusters else ""
        return f"release {self.release} in namespace {self.namespace}{cluster}"

    def is_same(self, other: "Owner") -> bool:
        """Return whether both are one release: an authority that is being replaced is there beside the new one."""
        known = bool(self.clusters and other.clusters)
        return (self.namespace, self.release) == (other.namespace, other.release) and (
            not known or bool(self.clusters & other.clusters)
        )


def fingerprints(authority: Path | None) -> frozenset[str]:
    """Return a short name for each certificate of the file; none where it is not there."""
    try:
        text = authority.read_text() if authority else ""
    except FileNotFoundError:
        return frozenset()
    certificates = map(ssl.PEM_cert_to_DER_cert, _CERTIFICATE.findall(text))
    return frozenset(hashlib.sha256(each).hexdigest()[:8] for each in certificates)


@dataclass(frozen=True)
class Mark:
    """What registration writes into a pool's description: whose it is, and the digest of what was registered last.

    It goes with the pool: a database that was lost or replaced, or a pool that was deleted, has no such mark.
    """

    owner: Owner | None = None
    digest: str | None = None

    @classmethod
    def written(cls, description: str | None) -> "Mark":
        """Read a pool's description.

        >>> Mark.written("Registered by dbtpod: 1a2b3c4d").digest
        '1a2b3c4d'
        """
        found = _REGISTERED.search(description or "")
        return cls(Owner.written(description), found[1] if found else None)

    def __str__(self) -> str:
        """Write the description."""
        lines = (f"Owner: {self.owner}" if self.owner else "", f"{_BY} {self.digest}" if self.digest else "")
        return "\n".join(filter(None, lines))


def taken(pool: str, other: Owner, own: Owner) -> str:
    """Say that a pool is another's, and what to do."""
    return (
        f"The work pool {pool!r} belongs to {other}; this is {own}. Give this release a pool of its own: leave "
        "workPool.name empty, or write another name. Where that release is gone, remove the pool's description "
        f"(prefect work-pool update {pool} --description '') and register again: this release then takes it over."
    )
