"""ARM instructions of one inference, EfficientNet-Lite0's by default: runtime x core x precision, under QEMU.

    python benchmarks/instructions.py --sysroot FOLDER [--source TASK.py] [--folder KEEP]

Compresses the example for a Raspberry Pi, runs `edgecomp bench --device emulated:CORE` on what it made, and prints the
tables of docs/results.md, with what `edgecomp estimate` says. Nothing of it is a time. `make sysroot` makes the folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "examples" / "efficientnet_lite0.py"
#: Core -> the target that has it.
TARGETS = {"cortex-a72": "raspberry-pi-4b", "cortex-a76": "raspberry-pi-5"}
PRECISIONS = ("fp32", "int8")
RUNTIMES = {"onnxruntime": "ONNX Runtime", "tflite": "LiteRT", "mnn": "MNN"}


def main() -> None:
    """Compresses what is not there yet, counts, and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sysroot", type=Path, required=True)
    parser.add_argument("--source", type=Path, default=SOURCE)
    parser.add_argument("--folder", type=Path, help="keep the artifacts here, and take those that are there already")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        made = {precision: compress(options.source, folder, precision) for precision in PRECISIONS}
        counts = {precision: count(made[precision], options) for precision in PRECISIONS}
        estimates = {precision: estimate(made[precision]) for precision in PRECISIONS}
    print_counts(counts)
    print_estimates(counts, estimates)


def compress(source: Path, folder: Path, precision: str) -> Path:
    """The artifacts in a precision; those of a network with untrained weights may be rejected, and count the same."""
    made = folder / precision
    rejected = made.with_name(f"{precision}.rejected")
    if not made.exists() and not rejected.exists():
        words = ["compress", source, "--target", "raspberry-pi-4b", "--precision", precision, "-o", made]
        edgecomp(*words, *(["--effort", "fast"] if precision == "int8" else []), check=False)
    return made if made.exists() else rejected


def estimate(made: Path) -> dict[tuple[str, str], dict[str, float]]:
    """(file, core) -> "low" and "high" of the estimated instructions."""
    found = {}
    for core, target in TARGETS.items():
        for file, entry in edgecomp("estimate", made, "--target", target)["artifacts"].items():
            found[file, core] = entry["instructions"]
    return found


def count(made: Path, options: argparse.Namespace) -> dict[tuple[str, str], dict[str, Any]]:
    """(format, core) -> the entry of the result file."""
    devices = [word for core in TARGETS for word in ("--device", f"emulated:{core}")]
    settings = ["--sysroot", options.sysroot, "--runs", options.runs, "--warmup", 1]
    document = edgecomp("bench", made, *devices, *settings, check=False)  # outputs that disagree are in the table
    return {
        (entry["format"], device["device"]["name"].removeprefix("emulated-")): entry["result"]
        for device in document["devices"]
        for entry in device["artifacts"]
    }


def edgecomp(*words: object, check: bool = True) -> Any:
    """What a command says."""
    command = [sys.executable, "-m", "edgecomp", *map(str, words), "--json"]
    return json.loads(subprocess.run(command, check=check, stdout=subprocess.PIPE).stdout)


Counts = dict[str, dict[tuple[str, str], dict[str, Any]]]


def print_counts(counts: Counts) -> None:
    """In millions, with what one run differs from another."""
    print(f"| runtime | {' | '.join(f'{core} fp32 | int8' for core in TARGETS)} | agrees with golden |")
    print("|---|" + "---|---|" * len(TARGETS) + "---|")
    for name, runtime in RUNTIMES.items():
        results = [counts[precision][name, core] for core in TARGETS for precision in PRECISIONS]
        cells = [f"{result['emulated_instructions']['median'] / 1e6:.4g}" for result in results]
        version = results[0]["runtime"]["version"]
        agrees = "yes" if all(result["golden"]["agrees"] for result in results) else "NO"
        print(f"| {runtime} {version} | {' | '.join(cells)} | {agrees} |")
    figures = [result["emulated_instructions"] for by_core in counts.values() for result in by_core.values()]
    if len(figures[0]["samples"]) > 1:
        print(f"\nRuns of one artifact differ by at most {max(f['max'] / f['min'] - 1 for f in figures):.4%}.")
    print()


def print_estimates(counts: Counts, estimates: dict[str, dict[tuple[str, str], dict[str, float]]]) -> None:
    """The middle of the estimate less the count, relative to the count; bold where the count is out of the range."""
    print(f"| error of the estimate | {' | '.join(f'{core} fp32 | int8' for core in TARGETS)} |")
    print("|---|" + "---|---|" * len(TARGETS))
    for name, runtime in RUNTIMES.items():
        cells = []
        for core in TARGETS:
            for precision in PRECISIONS:
                result = counts[precision][name, core]
                estimated = estimates[precision][result["model"]["file"], core]
                counted = result["emulated_instructions"]["median"]
                error = f"{(estimated['low'] + estimated['high']) / 2 / counted - 1:+.0%}"
                # A hundredth of slack: the ends are rounded.
                inside = 0.99 * estimated["low"] <= counted <= 1.01 * estimated["high"]
                cells.append(error if inside else f"**{error}**")
        print(f"| {runtime} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
