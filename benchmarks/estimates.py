"""How far off estimates are that go by one measured network: on this machine, in time.

    python benchmarks/estimates.py MEASURED OTHER... [--target linux-x86-64] [--runs 30]

Each is a result folder. MEASURED is timed here, and `edgecomp estimate --results` says by that what the others take,
which are timed too. Prints the estimate's middle over the measured time, and whether that was in the range.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    """Measures, estimates, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("measured", type=Path)
    parser.add_argument("others", type=Path, nargs="+")
    parser.add_argument("--target", default="linux-x86-64")
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        farm = Path(name, "farm.toml")
        farm.write_text(f'[devices.here]\nurl = "local"\ntarget = "{options.target}"\nthreads = 1\n')
        (kept,) = measure(options.measured, farm, options.runs)["files"]
        print("| network | artifact | measured | estimated | middle / measured | in the range |")
        print("|---|---|---|---|---|---|")
        for folder in options.others:
            times = measure(folder, farm, options.runs)["devices"][0]["artifacts"]
            estimates = edgecomp("estimate", folder, "--target", options.target, "--results", kept)["artifacts"]
            for entry in times:
                found = estimates[entry["file"]]
                if entry["result"] is not None and found["measurements"]:
                    print_row(folder, entry["file"], entry["result"]["latency_ms"]["p50"], found["milliseconds"])


def print_row(folder: Path, file: str, measured: float, estimated: dict[str, float]) -> None:
    """One artifact; the middle is the geometric one, as the range is a factor to both sides."""
    low, high = estimated["low"], estimated["high"]
    cells = (
        f"{folder.parent.name or folder.name}",
        file,
        f"{measured:.2f} ms",
        f"{low:.2f} - {high:.2f} ms",
        f"{math.sqrt(low * high) / measured:.2f}",
        "yes" if low <= measured <= high else "no",
    )
    print(f"| {' | '.join(cells)} |", flush=True)


def measure(folder: Path, farm: Path, runs: int) -> Any:
    """Times a folder's artifacts on this machine."""
    return edgecomp("bench", folder, "--device", farm, "--runs", runs, check=False)


def edgecomp(*words: object, check: bool = True) -> Any:
    """What a command says."""
    command = [sys.executable, "-m", "edgecomp", *map(str, words), "--json"]
    return json.loads(subprocess.run(command, check=check, stdout=subprocess.PIPE).stdout)


if __name__ == "__main__":
    main()
