"""Memory goes back to the system when it says so."""

import ctypes
import subprocess
import sys

import pytest

#: What stays of 64 MB that are freed while a little behind every MB lives on, inside the block and after it. In a
#: process of its own, whose heap has no free memory from before.
SCRIPT = """
from pathlib import Path
import numpy as np
from edgecomp.system.memory import freed_at_once

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def left_behind():
    before = resident()
    pairs = [(np.ones(1 << 20, np.uint8), np.ones(1 << 14, np.uint8)) for _ in range(64)]
    kept.append([small for _, small in pairs])
    del pairs
    return (resident() - before) >> 20

kept = []
np.ones(16 << 20, np.uint8)  # from here on, glibc takes arrays of a MB from its heap
with freed_at_once():
    inside = left_behind()
print(inside, left_behind())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's own allocator"
)
def test_holes_go_back_inside_the_block_only() -> None:
    answer = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    inside, outside = map(int, answer.stdout.split())
    assert inside < 16 < 32 < outside
