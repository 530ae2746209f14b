"""What measuring costs: of the harness beside an inference, and of eight boards beside one.

    python benchmarks/harness.py DIR [--rounds 9] [--boards 8]

DIR is a result folder. What the harness puts inside the clock is what it measures of a runtime that does nothing; what
it puts between two inferences, copying the inputs included, is the time of its loop less that of the samples. Boards
are loopback ones behind a stand-in for ssh, with a runtime that sleeps: the PC's part alone takes processor time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edgecomp.device_scripts import bench

SSH = """#!/bin/sh
for word; do shift; [ "$word" != -- ] || break; done
mkdir -p {folder}/$1/tmp
HOME={folder}/$1 TMPDIR={folder}/$1/tmp exec sh -c "$2"
"""
RUNTIME = """
import time
class SessionOptions: pass
class Value:
    name, type, shape = "x", "tensor(float)", [1]
class InferenceSession:
    def __init__(self, *arguments, **options): pass
    def get_inputs(self): return [Value]
    def get_outputs(self): return [Value]
    def run(self, names, feeds):
        time.sleep(0.1)
        return [feeds["x"]]
"""
SLEEP_SECONDS = 6.1  # the first inference, 10 to warm up, 50 that are timed


class Nothing(bench.Runtime):
    """A runtime that does nothing."""

    def feed(self, arrays: Any) -> None:
        """Nothing."""

    def run(self) -> None:
        """Nothing."""


def inside() -> float:
    """Milliseconds that each sample is too long."""
    return statistics.median(bench.timed_runs(Nothing(), [], 10_000))


def between(path: Path, rounds: int) -> tuple[float, float]:
    """Milliseconds of an artifact's inference, and those between two inferences: medians over rounds."""
    load, _ = bench.find_runtime(str(path))
    runtime = load(str(path), 1, None)
    arrays = bench.random_inputs(runtime.inputs)
    bench.timed_runs(runtime, arrays, 5)
    inferences, gaps = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        samples = bench.timed_runs(runtime, arrays, 20, "round")
        whole = (time.perf_counter() - start) * 1e3
        inferences.append(statistics.median(samples))
        gaps.append((whole - sum(samples)) / len(samples))
    return statistics.median(inferences), statistics.median(gaps)


def boards(count: int) -> float:
    """Seconds of `edgecomp bench` on so many boards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in {
            "ssh": SSH.format(folder=folder),
            "python3": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        }.items():
            (folder / path).write_text(text)
            (folder / path).chmod(0o755)
        (folder / "site").mkdir()
        (folder / "site/onnxruntime.py").write_text(RUNTIME)
        (folder / "m.onnx").write_bytes(b"read by nobody")
        (folder / "farm.toml").write_text("".join(f'[devices.pi{n}]\nurl = "ssh://pi{n}"\n' for n in range(count)))
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(folder / "site")}
        environment.pop("XDG_CACHE_HOME", None)
        command = [sys.executable, "-m", "edgecomp", "bench", folder / "m.onnx", "--device", folder / "farm.toml"]
        start = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--boards", type=int, default=8)
    options = parser.parse_args()
    within = inside()
    print("| artifact | inference | inside the clock | between two inferences | together |\n|---|---|---|---|---|")
    for path in sorted(options.folder.glob("model.*")):
        if path.suffix in bench.RUNTIMES:
            inference, gap = between(path, options.rounds)
            share = (within + gap) / inference
            row = f"{path.name} | {inference:.2f} ms | {within * 1e3:.2f} µs | {gap * 1e3:.1f} µs | {share:.2%}"
            print(f"| {row} |", flush=True)
    one, many = boards(1), boards(options.boards)
    print(f"\n| boards | `edgecomp bench` ({SLEEP_SECONDS} s of it on the boards) |\n|---|---|")
    print(f"| 1 | {one:.1f} s |\n| {options.boards} | {many:.1f} s |")


if __name__ == "__main__":
    main()
