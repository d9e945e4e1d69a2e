"""prefect.yaml, read and checked before anything is changed on a server: files are read, and dbt is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbtpod import settings
from dbtpod.dbt import inspection
from dbtpod.errors import DeploymentsInvalid
from dbtpod.registration import commands, draft, job_variables
from dbtpod.registration.draft import Draft
from dbtpod.registration.mapping import Around
from dbtpod.registration.prefect_yaml import Deployment, parse
from dbtpod.registration.variant import Variant
from dbtpod.registration.yaml_file import Diagnostic

AS_WRITTEN = Variant()


@dataclass(frozen=True)
class PrefectFile:
    """A prefect.yaml without errors."""

    draft: Draft
    pool: str
    deployments: tuple[Deployment, ...]

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.draft.file.path


def read(
    path: Path,
    variant: Variant = AS_WRITTEN,
    job_template: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> PrefectFile:
    """Read and check prefect.yaml; DeploymentsInvalid lists every error with its line, its value and the fix.

    The variant says which work pool the deployments go to, and what else differs from one environment to another.
    """
    own = settings.environment()
    found = draft.read(path, own if environment is None else environment)
    if isinstance(found, Diagnostic):
        raise DeploymentsInvalid(f"{path} {found.text} (line {found.line}).")
    refusals = inspection.refusals((command.words for command in found.commands), path.absolute().parent, own)
    found, pool = variant.apply(found)
    checked = check(found, pool, refusals, job_template)
    if isinstance(checked, list):
        raise DeploymentsInvalid(_message(path, checked))
    return PrefectFile(found, pool, checked)


def check(
    found: Draft,
    pool: str,
    refusals: Mapping[tuple[str, ...], str],
    job_template: Mapping[str, Any] | None = None,
) -> tuple[Deployment, ...] | list[Diagnostic]:
    """Return the deployments of the file; or all its errors."""
    problems = [*commands.refused(found.commands, refusals)]
    if job_template:
        problems += job_variables.problems(found.deployments, job_template)
    deployments = parse(found.content, Around(found.file.path.absolute().parent, pool))
    if isinstance(deployments, list):
        problems += deployments
    errors = found.diagnostics([*found.problems, *(each for each in problems if each[0] not in found.unset)])
    return errors or tuple(each for each in deployments if isinstance(each, Deployment))


def check_job_variables(file: PrefectFile, job_template: Mapping[str, Any]) -> None:
    """Raise DeploymentsInvalid where a deployment sets what the pool's job template lacks, or of another type."""
    problems = job_variables.problems(file.draft.deployments, job_template)
    if errors := file.draft.diagnostics(problems):
        raise DeploymentsInvalid(_message(file.path, errors))


def _message(path: Path, errors: Sequence[Diagnostic]) -> str:
    count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
    lines = (f"  line {error.line}: {error.text}" for error in errors)
    return "\n".join([f"{path} has {count}; nothing was changed.", *lines])
