"""Memory that is freed is returned."""

import subprocess
import sys

import pytest

HELD = """
import sys
from contextlib import nullcontext
import numpy as np
from variants.allocator import freed_at_once

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def churn():
    for _ in range(8):
        np.ones(2**21)  # 16 MiB, and so glibc takes smaller ones from its arena
    pairs = [(np.ones(2**18), np.ones(2**12)) for _ in range(100)]  # 2 MiB before 32 KiB
    return [small for _, small in pairs]

before = resident()
with freed_at_once() if sys.argv[1] == "yes" else nullcontext():
    kept = churn()
    print(resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_freed_blocks_do_not_stay() -> None:
    def held(way: str) -> int:
        ran = subprocess.run([sys.executable, "-c", HELD, way], capture_output=True, text=True, check=True)
        return int(ran.stdout)

    assert held("yes") < 50 * 2**20 < held("no")
