"""A gateway that has let large bodies go does not keep their memory, also where something small came after them."""

import subprocess
import sys

import pytest

from deployments.gateway.freed_memory import return_freed_memory

BODIES, BODY_BYTES = 12, 8 * 2**20
LETS_BODIES_GO = f"""
import os, sys
from pathlib import Path
from deployments.gateway.freed_memory import return_freed_memory

def rss_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

if sys.argv[1] == "returned":
    return_freed_memory()
body = b"x" * {2 * BODY_BYTES}
del body
before = rss_bytes()
bodies, small = [], []
for number in range({BODIES}):
    bodies.append(b"x" * {BODY_BYTES})
    small.append(bytes(2000))
bodies.clear()
print(rss_bytes() - before)
"""


def kept_bytes(how: str) -> int:
    return int(subprocess.check_output([sys.executable, "-c", LETS_BODIES_GO, how]))


@pytest.mark.skipif(not return_freed_memory(), reason="this C library has no mallopt")
def test_freed_bodies_go_back_to_the_system() -> None:
    assert kept_bytes("returned") < BODY_BYTES / 4
    assert kept_bytes("as the C library does it") > BODIES * BODY_BYTES / 2
