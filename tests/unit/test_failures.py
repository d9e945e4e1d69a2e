"""Which error an exit code and dbt's messages mean."""

import pytest

from dbtpod.dbt.failures import classify
from dbtpod.errors import (
    BuildIncomplete,
    ConnectionLost,
    DbtFailed,
    DbtKilled,
    DbtPodError,
    DbtUnusable,
    VolumeFull,
)

LOCKED = 'IO Error: Could not set lock on file "/data/x.duckdb": Conflicting lock is held in PID 0'
REFUSED = "could not connect to server: Connection refused"
BINDER = 'Binder Error: Referenced column "connection refused" not found'
FULL = "IO Error: Could not write file: No space left on device"


@pytest.mark.parametrize(
    ("code", "failed", "said", "expected"),
    [
        (0, [], [], None),
        (0, [], [LOCKED], None),
        (0, [BINDER], [], BuildIncomplete),
        (-9, [], [], DbtKilled),
        (-9, [BINDER], [REFUSED], DbtKilled),
        (1, [LOCKED], [], ConnectionLost),
        (1, [LOCKED, REFUSED], [], ConnectionLost),
        (1, [LOCKED, BINDER], [], DbtFailed),
        (1, [BINDER], [REFUSED], DbtFailed),
        (1, ["Got 3 results, configured to fail if != 0"], [], DbtFailed),
        (1, [FULL], [], VolumeFull),
        (2, [], [LOCKED], ConnectionLost),
        (2, [], [LOCKED, BINDER], DbtUnusable),
        (2, [], [FULL], VolumeFull),
        (2, [], ["Could not find selector named smok"], DbtUnusable),
        (2, [], [], DbtUnusable),
    ],
)
def test_an_end_of_dbt_has_one_kind(
    code: int, failed: list[str], said: list[str], expected: type[DbtPodError] | None
) -> None:
    assert classify(code, failed, said) is expected
