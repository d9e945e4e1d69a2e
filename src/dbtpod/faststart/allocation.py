"""Memory that is freed goes back to the system, and not to a heap that stays as large as it ever was.

    allocation.give_back()

glibc takes blocks of 128 KiB and more from the system one by one, and returns each when it is freed. But it raises that
size with each that is freed, up to 32 MiB, and what is smaller it keeps. A size that is set stays: here it is 32 KiB.
Source: mallopt(3), M_MMAP_THRESHOLD.
"""

import ctypes

_M_MMAP_THRESHOLD, _BYTES = -3, 32 * 1024


def give_back() -> None:
    """Have this process, and those that it forks, return large blocks; without glibc nothing happens."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, _BYTES)
