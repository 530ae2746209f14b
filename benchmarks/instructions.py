"""ARM instructions of one inference of EfficientNet-Lite0: runtime x core x precision, under QEMU.

    python benchmarks/instructions.py --sysroot FOLDER [--cores cortex-a72 cortex-a76] [--folder KEEP]

Compresses the example for a Raspberry Pi, runs `edgecomp bench --device emulated:CORE` on what it made, and prints the
table of docs/results.md. Nothing of it is a time. `make sysroot` makes the folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "examples" / "efficientnet_lite0.py"
TARGET = "raspberry-pi-4b"
PRECISIONS = ("fp32", "int8")
RUNTIMES = {"onnxruntime": "ONNX Runtime", "tflite": "LiteRT", "mnn": "MNN"}


def main() -> None:
    """Compresses what is not there yet, counts, and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sysroot", type=Path, required=True)
    parser.add_argument("--cores", nargs="+", default=["cortex-a72", "cortex-a76"])
    parser.add_argument("--folder", type=Path, help="keep the artifacts here, and take those that are there already")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        counts = {precision: count(compress(folder, precision), options) for precision in PRECISIONS}
    print_table(counts, options.cores)


def compress(folder: Path, precision: str) -> Path:
    """The artifacts in a precision."""
    made = folder / precision
    if not made.exists():
        edgecomp("compress", SOURCE, "--target", TARGET, "--precision", precision, "-o", made)
    return made


def count(made: Path, options: argparse.Namespace) -> dict[tuple[str, str], dict[str, Any]]:
    """(format, core) -> the entry of the result file."""
    devices = [word for core in options.cores for word in ("--device", f"emulated:{core}")]
    settings = ["--sysroot", options.sysroot, "--runs", options.runs, "--warmup", 1]
    document = edgecomp("bench", made, *devices, *settings)
    return {
        (entry["format"], device["device"]["name"].removeprefix("emulated-")): entry["result"]
        for device in document["devices"]
        for entry in device["artifacts"]
    }


def edgecomp(*words: object) -> Any:
    """What a command says."""
    done = subprocess.run(["edgecomp", *map(str, words), "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def print_table(counts: dict[str, dict[tuple[str, str], dict[str, Any]]], cores: list[str]) -> None:
    """In millions, with what one run differs from another."""
    print(f"| runtime | {' | '.join(f'{core} fp32 | int8' for core in cores)} | agrees with golden |")
    print("|---|" + "---|---|" * len(cores) + "---|")
    for name, runtime in RUNTIMES.items():
        results = [counts[precision][name, core] for core in cores for precision in PRECISIONS]
        cells = [f"{result['emulated_instructions']['median'] / 1e6:.1f}" for result in results]
        version = results[0]["runtime"]["version"]
        agrees = "yes" if all(result["golden"]["agrees"] for result in results) else "NO"
        print(f"| {runtime} {version} | {' | '.join(cells)} | {agrees} |")
    spread = max(
        result["emulated_instructions"]["max"] / result["emulated_instructions"]["min"] - 1
        for by_core in counts.values()
        for result in by_core.values()
    )
    print(f"\nRuns of one artifact differ by at most {spread:.4%}.")


if __name__ == "__main__":
    main()
