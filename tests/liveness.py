"""What tests look at of processes that they did not start themselves."""

from __future__ import annotations

import os


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
