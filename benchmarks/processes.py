"""What a command costs: wall time, processor time, and memory, with all processes that it starts."""

from __future__ import annotations

import contextlib
import glob
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Seconds between two looks at the memory. Reading it takes a few milliseconds of processor time.
_PAUSE = 0.1


@dataclass(frozen=True)
class Cost:
    """What a command cost.

    Attributes:
        wall: Seconds from start to end.
        cpu: Seconds of processor time, children included.
        largest: Peak resident bytes of the process that had most.
        together: Peak bytes of all processes at once, shared pages counted once; 0 where Linux's /proc is not there.
        status: The exit code.
        words: The last line that it printed, for when it failed.
    """

    wall: float
    cpu: float
    largest: int
    together: int
    status: int
    words: str


def run(command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, timeout: float = 3600) -> Cost:
    """Runs a command and measures it; one that takes longer than `timeout` seconds is stopped and has status 124."""
    peak = 0
    with tempfile.TemporaryFile() as output:
        start = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command], stdout=output, stderr=output, env=environment, start_new_session=True
        )
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(_PAUSE):
                peak = max(peak, tree_memory(process.pid))
                if time.monotonic() - start > timeout:
                    os.killpg(process.pid, 9)
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        watcher.join()
        output.seek(0)
        lines = output.read().decode(errors="replace").strip().splitlines()
    code = 124 if wall > timeout else process.returncode
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(wall, cpu, usage.ru_maxrss * 1024, peak, code, lines[-1] if lines else "no output")


def tree_memory(root: int) -> int:
    """Bytes of a process and its descendants, shared pages counted once; 0 where Linux's /proc is not there."""
    total, queue = 0, [str(root)]
    while queue:
        pid = queue.pop()
        with contextlib.suppress(OSError, IndexError, ValueError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += 1024 * int(rollup.partition("\nPss:")[2].split()[0])
        for children in glob.glob(f"/proc/{pid}/task/*/children"):
            with contextlib.suppress(OSError):
                queue.extend(Path(children).read_text().split())
    return total
