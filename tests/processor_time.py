"""How long work takes, measured so that a busy machine or a full heap does not decide the answer."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any


def least_seconds(work: Callable[[], Any], *, repeats: int = 3) -> float:
    """Returns the least processor time of `repeats` runs, in seconds.

    The garbage collector rests meanwhile: a collection scans whatever earlier tests left in memory.
    """

    def seconds() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    gc.collect()
    gc.disable()
    try:
        return min(seconds() for _ in range(repeats))
    finally:
        gc.enable()
