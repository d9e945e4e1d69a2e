"""What a pod imports has its bytecode in the image: a read-only root never keeps any, so each pod would compile it."""

import re
from pathlib import Path

import pytest

from kube import IMAGE, Cluster, command

# All that the chart's pods run, one after the other, where what Python compiles is written beside its source.
PROGRAM = r"""
set -e
exec 2>&1
export PREFECT_API_URL=http://127.0.0.1:4200/api DUCKDB_PATH=/tmp/volume/work/warehouse.duckdb
mkdir -p /tmp/volume/work
touch /tmp/begin

cat > /tmp/ask.py <<END
from prefect.client.orchestration import SyncPrefectClient

client = SyncPrefectClient("$PREFECT_API_URL")
print(client.create_flow_run_from_deployment(client.read_deployment_by_name("dbt-build/dbt-build-daily").id).id)
END
prefect server start > /tmp/server 2>&1 &
prefect work-pool get-default-base-job-template --type kubernetes --file /tmp/template.json
dbtpod register --base-job-template /tmp/template.json
for pod in "python /opt/package/dbtpod/faststart/boot.py" "dbtpod execute"; do
  run=$(python /tmp/ask.py)
  PREFECT__FLOW_RUN_ID=$run $pod
done
timeout 20 prefect worker start --pool another --type kubernetes || true
python -c '
import importlib, pkgutil
import dbtpod
for module in pkgutil.walk_packages(dbtpod.__path__, "dbtpod."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
'

echo "Imported:"
find / -xdev -name '*.pyc' -newer /tmp/begin
"""

pytestmark = pytest.mark.cluster


def compiled(image: str) -> list[str]:
    """What of the image is compiled in its pods; but for the project's own flows, all of it should be there."""
    said = command(
        *("docker", "run", "--rm", "--user", "0", "--env", "PYTHONDONTWRITEBYTECODE=", "--interactive"),
        *("--entrypoint", "sh", image),
        stdin=PROGRAM,
        seconds=240,
    )
    before, _, found = said.partition("Imported:\n")
    assert len(re.findall("Flow run .* Finished in state Completed", before)) == 2, said
    assert re.search("Worker .* started!", before), said
    return [path for path in found.splitlines() if not path.startswith("/opt/dbtpod/flows/")]


def test_pods_compile_nothing_of_the_image(cluster: Cluster) -> None:
    assert compiled(IMAGE) == []


@pytest.mark.soak
def test_pods_compile_nothing_of_python_s_own_library(cluster: Cluster, tmp_path: Path) -> None:
    """Python's own images come without its bytecode."""
    python, image = "python-without-bytecode", f"{IMAGE}-without-bytecode"
    base = "FROM python:3.13-slim\nRUN find / -xdev -name '*.pyc' -delete\n"
    command("docker", "build", "--tag", python, "-", stdin=base)

    command("make", "image", f"IMAGE={image}", f"BASES=--build-arg PYTHON_IMAGE={python}", seconds=580)

    assert compiled(image) == []
