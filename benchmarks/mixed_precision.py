"""What `diagnose` says of real networks in plain int8, whether it is true, and what mixed precision makes of them.

    make test-all    # installs the packages with the networks, once
    python benchmarks/mixed_precision.py [--models reader,yolo] [--sqnr 20]

For each network: the signal to noise of its outputs in plain int8, the layer that causes most of the error and why, the
signal to noise with every layer that hurts kept in float, and the fewest layers in float that reach `--sqnr`.
Calibrated on 32 samples, judged on 16 others. Prints a Markdown table as it goes; about an hour on two cores.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from edgecomp.arrays import Arrays
from edgecomp.data import collect_calibration
from edgecomp.diagnosis.report import diagnose_model
from edgecomp.frontends import load_source
from edgecomp.mixed_precision.islands import keep_in_float
from edgecomp.mixed_precision.promise import Judge, Promise
from edgecomp.mixed_precision.search import Search
from edgecomp.model import CompressedModel
from edgecomp.preparation import prepare
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import quantize_static
from edgecomp.verification.samples import Unlabelled

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "models"))

CALIBRATED, JUDGED = 32, 16


@dataclass(frozen=True)
class Network:
    """A network and its samples.

    Attributes:
        name: For the table.
        model: Simplified, float.
        samples: Calibration samples, then as many to judge by.
    """

    name: str
    model: CompressedModel
    samples: list[Arrays]


def examples() -> Iterator[tuple[str, Callable[[], Network]]]:
    """The task files."""

    def load(name: str) -> Network:
        source = load_source(str(ROOT / "examples" / f"{name}.py"))
        assert source.calibration_data is not None
        count = CALIBRATED + JUDGED
        data = collect_calibration(source.calibration_data(), source.input_specs, subject=name, limit=count)
        return Network(name, prepare(source), list(islice(data, count)))

    for name in ("efficientnet_lite0",):
        yield name, lambda name=name: load(name)  # type: ignore[misc]


def zoo() -> Iterator[tuple[str, Callable[[], Network]]]:
    """The files inside packages that tests/models converts, but for those that are quantized already."""
    from zoo import MODELS, Model, located  # it lies with the tests

    def load(model: Model) -> Network:
        source = load_source(located(model.package, model.path), shapes=dict(model.shapes))
        shapes = {spec.name: spec.shape for spec in source.input_specs}
        types = [spec.dtype for spec in source.input_specs]
        drawn = (model.draw(seed, shapes) for seed in range(CALIBRATED + JUDGED))
        samples = [tuple(a.astype(t) for a, t in zip(each, types, strict=True)) for each in drawn]
        return Network(model.name, prepare(source), samples)

    for model in MODELS:
        if not model.path.endswith("int8.onnx"):
            yield model.name, lambda model=model: load(model)  # type: ignore[misc]


def row(network: Network, sqnr: float) -> list[str]:
    """What is found, as the cells of the table."""
    calibration, judged = network.samples[:CALIBRATED], network.samples[CALIBRATED:]
    graph = network.model.graph.graph

    def rounded(model: CompressedModel) -> CompressedModel:
        return quantize_static(model, calibration)

    with Judge(
        Promise(min_sqnr=sqnr),
        Simulation(network.model).run,
        Unlabelled(judged),
        inputs=[value.name or "" for value in graph.inputs],
        outputs=[value.name or "" for value in graph.outputs],
        metrics=None,
        subject=network.name,
    ) as judge:
        plain = rounded(network.model)
        start = time.perf_counter()
        diagnosis = diagnose_model(plain, network.model, calibration[:JUDGED], source=network.name, target="")
        diagnosed = time.perf_counter() - start
        worst = diagnosis.layers[0]
        cause = worst.findings[0].cause if worst.findings else "none"
        marked = network.model.graph.clone()
        keep_in_float(marked.graph, [layer.name for layer in diagnosis.harmful if "/requantized" not in layer.name])
        start = time.perf_counter()
        search = Search(network.model, rounded, judge, calibration)
        found = search.run()
        searched = time.perf_counter() - start
        mended = judge.judge(Simulation(rounded(CompressedModel(marked))).run)
        base = judge.judge(Simulation(plain).run)
    return [
        network.name,
        f"{len(diagnosis.layers)}",
        f"{base.sqnr:.1f} dB",
        f"`{worst.name.split('/')[-1]}` ({worst.op_type}) {worst.share:.0%}: {cause}",
        f"{len(diagnosis.harmful)}",
        f"{mended.sqnr:.1f} dB",
        "none" if found is None else f"{len(found.layers)} layers, {found.float_macs:.1%} of the MACs",
        "" if found is None else f"{found.quality.sqnr:.1f} dB",
        f"{diagnosed:.0f} + {searched:.0f} s",
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="comma-separated parts of names")
    parser.add_argument("--sqnr", type=float, default=20.0, help="what is asked for, in dB")
    options = parser.parse_args()
    headings = (
        "network", "layers", "plain int8", "the worst layer and its share", "layers that hurt", "those in float",
        f"for {options.sqnr:g} dB", "reaches", "diagnosis + search",
    )  # fmt: skip
    print(f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|", flush=True)
    wanted = options.models.split(",")
    for name, load in (*examples(), *zoo()):
        if any(part in name for part in wanted):
            np.random.seed(0)
            print(f"| {' | '.join(row(load(), options.sqnr))} |", flush=True)


if __name__ == "__main__":
    main()
