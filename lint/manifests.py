"""Write what the chart makes, for linters: each set of values of charts/dbtpod/ci, with the Job of a run.

PYTHONPATH=tests/support python lint/manifests.py FOLDER
"""

import sys
from pathlib import Path

import yaml

from rendered import flow_run_job
from rendering import CHART, render_chart


def main(folder: Path) -> None:
    """Write one file for each set; the flow run's Job is in a ConfigMap, where no linter looks."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted((CHART / "ci").glob("*-values.yaml")):
        manifests = render_chart(yaml.safe_load(file.read_text()))
        job = flow_run_job(manifests)
        job["metadata"]["name"] = "flow-run"
        name = file.name.removesuffix("-values.yaml")
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all([*manifests, job]))


main(Path(sys.argv[1]))
