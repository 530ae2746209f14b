"""What `edgecomp compress examples/efficientnet_lite0.py` costs in fresh processes, and where its time goes.

Nothing heavy is imported here: Linux counts the memory of this process, at the time it starts a child, as the child's.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figures import Figure
from processes import run

EXAMPLE = Path(__file__).parent.parent / "examples" / "efficientnet_lite0.py"
TARGET = "raspberry-pi-4b"


def command_figures(rounds: int, folder: Path) -> list[Figure]:
    """Runs the command in fresh processes; the last result stays in `folder`/result."""
    walls, cpus, largest = [], [], []
    for index in range(rounds):
        output = folder / ("result" if index == rounds - 1 else f"result-{index}")
        command = ["-m", "edgecomp", "compress", str(EXAMPLE), "--target", TARGET, "-o", str(output)]
        cost = run([sys.executable, *command])
        if cost.status:
            sys.exit(f"the command ended with exit code {cost.status}: {cost.words}")
        walls.append(cost.wall)
        cpus.append(cost.cpu)
        largest.append(cost.largest / 1e9)
    return [
        Figure.of("the command, wall time", walls, "s", 20.0),
        Figure.of("the command, CPU time with children", cpus, "s"),
        Figure.of("peak memory, largest process (max RSS)", largest, "GB", 1.5),
    ]


def stage_figures(folder: Path) -> list[Figure]:
    """One run through the Python API, with the time of each stage and the memory of all processes together."""
    log = folder / "stages.json"
    start = time.monotonic()
    cost = run([sys.executable, __file__, log, folder / "staged"])
    if cost.status:
        sys.exit(f"the run for the stages ended with exit code {cost.status}: {cost.words}")
    named = stages(json.loads(log.read_text()), start, start + cost.wall)
    figures = [Figure.of(f"stage: {name}", [seconds], "s") for name, seconds in named]
    if cost.together:
        figures.insert(0, Figure.of("peak memory, all processes together (PSS)", [cost.together / 1e9], "GB", 1.5))
    return figures


def stages(events: Sequence[Sequence[Any]], start: float, end: float) -> list[tuple[str, float]]:
    """Stages in order with their seconds.

    Args:
        events: (stage, done, total, time) as `compress` reports progress; converters by name, "convert tflite".
        start: When the process was started.
        end: When it had ended.
    """
    named = {
        ("load", 0): "start Python, import edgecomp",
        ("load", 1): "load and export the module, check the graph",
        ("simplify", 1): "simplify",
        ("calibrate", 0): "read photos",
        ("calibrate", 1): "calibrate",
        ("convert", 0): "ranges, weights, biases",
        ("verify", 0): "",
        ("verify", 1): "verify",
    }
    found: dict[str, float] = {}
    before = start
    for stage, done, _, moment in events:
        if stage.startswith("convert "):
            name = stage
        elif stage == "simplify" and done == 0:
            name = ""
        else:
            name = named.get((stage, 0 if done == 0 else 1), "")
        name = name or "the rest"
        found[name] = found.get(name, 0.0) + moment - before
        before = moment
    found["write the manifest, end"] = end - before
    return [(name, seconds) for name, seconds in found.items() if seconds >= 0.005]


def log_stages(log: Path, output: Path) -> None:
    """The child of `stage_figures`."""
    from edgecomp.pipeline import compress
    from edgecomp.target import load_target

    formats = load_target(TARGET).defaults.formats
    events: list[tuple[str, int, int, float]] = []

    def progress(stage: str, done: int, total: int) -> None:
        name = f"convert {formats[done - 1]}" if stage == "convert" and done else stage
        if stage == "convert" and done == total:  # the end is reported together with that of the last one
            name = f"convert {formats[-1]}"
        events.append((name, done, total, time.monotonic()))

    compress(EXAMPLE, TARGET, output, progress=progress)
    log.write_text(json.dumps(events))


if __name__ == "__main__":
    log_stages(*map(Path, sys.argv[1:]))
