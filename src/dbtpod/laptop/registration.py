"""The process that registers prefect.yaml with the server of `dbtpod serve`, at its start and after each change.

Runs have no automation here that ends them where no heartbeat comes: `rounds` sees their processes, and a machine that
slept for an hour has sent none.
"""

import sys
from pathlib import Path

from dbtpod import register, settings
from dbtpod.errors import DbtPodError
from dbtpod.laptop import pool
from dbtpod.registration import deployments

# The server's first start makes its database.
WAIT_SECONDS = 240.0


def main(prefect_yaml: Path, pool_file: Path) -> int:
    """Register it, and write its work pool's name into the other file; 1 where it has errors, which are printed."""
    try:
        file = deployments.read(prefect_yaml, job_template=pool.TEMPLATE)
        for deployment in file.deployments:
            if idle := sorted(deployment.job_variables & set(pool.OF_A_POD)):
                print(f"deployment {deployment.name}: {', '.join(idle)} is of a pod, and does nothing here")
        writers = settings.writers(settings.environment(), prefect_yaml.absolute().parent)
        register.run(file, pool.TEMPLATE, WAIT_SECONDS, kind=pool.KIND, writers=writers)
        pool_file.write_text(file.pool)
    except DbtPodError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
