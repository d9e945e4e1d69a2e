"""The filesystems whose locks two nodes cannot trust, and that are refused."""

from pathlib import Path

import pytest

from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import lock

# Recorded lines: a root, a claim, and one mounted over another at the same point.
MOUNTS = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
300 22 0:50 / /data rw,relatime - ext4 /dev/sdb rw
301 22 0:51 / /data/share rw,relatime shared:5 - nfs4 10.0.0.1:/export rw,vers=4.2
302 22 0:52 / /with\040space rw,relatime - cifs //server/share rw
303 22 0:53 / /twice rw,relatime - nfs 10.0.0.1:/export rw
304 22 0:54 / /twice rw,relatime - xfs /dev/sdc rw
305 22 0:55 / /bucket rw,relatime - fuse.s3fs s3fs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/data", "ext4"),
        ("/database", "ext4"),
        ("/data/share", "nfs4"),
        ("/data/share/deep/er", "nfs4"),
        ("/with space", "cifs"),
        ("/twice", "xfs"),
        ("/bucket/x", "fuse.s3fs"),
    ],
)
def test_the_innermost_and_last_mount_names_the_filesystem(path: str, kind: str) -> None:
    assert lock.filesystem(MOUNTS, Path(path)) == kind


@pytest.mark.parametrize("volume", ["/data/share/warehouse", "/with space", "/bucket"])
def test_a_volume_on_a_network_filesystem_is_refused_with_the_way_out(tmp_path: Path, volume: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)

    with pytest.raises(WarehouseUnusable) as caught:
        lock.check_filesystem(Path(volume), allow_network=False, mounts=mounts)

    assert "no lock that two nodes can trust" in str(caught.value)
    assert "warehouse.allowNetworkFilesystem" in str(caught.value)
    assert "DBTPOD_ALLOW_NETWORK_FILESYSTEM=true" in str(caught.value)
    lock.check_filesystem(Path(volume), allow_network=True, mounts=mounts)


def test_this_machines_disk_is_accepted(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo")
    kind = lock.filesystem(mounts.read_text(), tmp_path)

    lock.check_filesystem(tmp_path, allow_network=False)

    assert kind != "unknown"
    # The same folder is refused where the kernel says that it is mounted from elsewhere.
    elsewhere = tmp_path / "mountinfo"
    elsewhere.write_text(f"{mounts.read_text()}999 22 0:60 / {tmp_path} rw - nfs4 10.0.0.1:/export rw\n")
    with pytest.raises(WarehouseUnusable, match="network filesystem"):
        lock.check_filesystem(tmp_path, allow_network=False, mounts=elsewhere)
