"""The build, push and pull steps of a prefect.yaml: functions that are installed, with inputs that they take."""

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from dbtpod.registration.entrypoints import did_you_mean
from dbtpod.registration.yaml_file import Place, Problem

Steps = list[Any] | dict[str, Any] | None


def problems(given: dict[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with the steps of the file, or of one of its deployments."""
    for section in ("build", "push", "pull"):
        steps = given.get(section)
        for index, step in enumerate([steps] if isinstance(steps, dict) else steps if isinstance(steps, list) else []):
            place = (section, index)
            if isinstance(step, dict):
                for name, inputs in step.items():
                    yield from _inputs_problems(str(name), inputs or {}, (*place, name))
            else:
                yield place, f"is {step!r}: a step is a mapping of its function to its inputs"


def _inputs_problems(name: str, inputs: dict[str, Any], at: Place) -> Iterator[Problem]:
    module, _, function = name.rpartition(".")
    try:
        known = vars(importlib.import_module(module))
    except (ImportError, ValueError):
        yield at, f"is no step here: {module or name!r} is not installed"
        return
    if function not in known:
        yield at, f"is no such step in {module}{did_you_mean(function, known)}"
        return
    parameters = {*inspect.signature(known[function]).parameters, "id", "requires"}
    for key in set(inputs) - parameters:
        yield (*at, key), f"is not an input of this step{did_you_mean(key, parameters)}"
