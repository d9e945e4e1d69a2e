"""How one prefect.yaml is registered for one environment, such as dev or prod: by which pool, names and schedules."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from dbtpod.registration.draft import Draft


@dataclass(frozen=True)
class Variant:
    """What an environment changes of the file, which is the same for all of them."""

    # The work pool; None: the one that the file names.
    pool: str | None = None
    # Follows each deployment's name: on one Prefect server, two environments need different ones.
    suffix: str = ""
    # False: no schedule starts a run.
    schedules: bool = True

    def apply(self, found: Draft) -> tuple[Draft, str]:
        """Return the file with these changes, and its work pool.

        The pool replaces the file's own only where all deployments name the same one: another name among them is an
        error, which `prefect_yaml` reports.
        """
        named = Counter(filter(None, map(_pool, found.deployments)))
        pool = self.pool or next(iter(named), "dbtpod")
        replaced = next(iter(named)) if len(named) == 1 else None
        entries = [self._entry(each, replaced, pool) for each in found.deployments]
        return replace(found, content={**found.content, "deployments": entries}), pool

    def _entry(self, entry: Any, replaced: str | None, pool: str) -> Any:
        """Return one deployment; what is not as it should be stays, for the checks."""
        if not isinstance(entry, dict):
            return entry
        made = dict(entry)
        if self.suffix and isinstance(made.get("name"), str) and made["name"]:
            made["name"] += self.suffix
        if replaced and _pool(entry) == replaced:
            made["work_pool"] = {**made["work_pool"], "name": pool}
        if not self.schedules and isinstance(made.get("schedules"), list):
            made["schedules"] = [
                {**each, "active": False} if isinstance(each, dict) else each for each in made["schedules"]
            ]
        return made


def _pool(entry: Any) -> str | None:
    pool = entry.get("work_pool") if isinstance(entry, dict) else None
    name = pool.get("name") if isinstance(pool, dict) else None
    return name if isinstance(name, str) and name else None
