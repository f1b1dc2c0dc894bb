"""What a request took goes back to the system when it ends, and does not stay with the process as free memory."""

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGE_BYTES = 128 * 1024


def return_freed_memory() -> bool:
    """For this process, from now on: what is large is mapped apart from the heap, whose free end is given back.

    glibc begins so, but each large block that is freed raises both limits, up to 32 and 64 MiB: after one body of 8 MiB
    the heap has all that come, with holes that stay. False where the C library has no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    limits = (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD)
    return mallopt is not None and all(mallopt(limit, LARGE_BYTES) for limit in limits)
