"""What distillation and quantization-aware training gain, and what a rounded training step costs.

    python benchmarks/learning.py distillation     # digits: what pruning left, trained alone and with a teacher
    apt-get install dataset-fashion-mnist
    python benchmarks/learning.py rounding         # int8 as it comes and trained, and what artifacts make of it
    python benchmarks/learning.py speed            # time of a training step, float and rounded

`rounding` trains on the first 10,000 pictures of 60,000, for one epoch; accuracies are on all 10,000 test pictures.
Each command prints the rows that docs/results.md shows.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[1] / "examples"))

import fashion_mnist as task
from fashion_networks import trained

from edgecomp import compress
from edgecomp.compression.distillation.step import DistillationStep
from edgecomp.compression.fine_tuning import FineTuning
from edgecomp.compression.pruning.channels import ChannelPruning
from edgecomp.compression.quantization_aware.module import RoundingModule
from edgecomp.compression.quantization_aware.step import QuantizationAwareTraining, structure_of
from edgecomp.data import collect_evaluation
from edgecomp.frontends import load_source
from edgecomp.frontends.torch_module import adapt_metric
from edgecomp.preparation import prepare
from edgecomp.quantization.static import StaticQuantization, quantize_static
from edgecomp.recipe import DataLimits, Recipe
from edgecomp.target import load_target
from edgecomp.verification.metrics import Metrics
from edgecomp.verification.tolerance import Tolerance
from edgecomp.workbench import Workbench

#: Pictures in a batch of the graphs that are compared: runtimes are quicker with many.
BATCH = 100

#: Trained on first use, for some minutes each, and kept where examples/fashion_mnist.py keeps its weights.
NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "ResNet": task.model,
    "MobileNet with squeeze-and-excitation": task.mobile,
    "MobileNetV3": partial(trained, "mobilenet_v3"),
    "vision transformer": partial(trained, "vit"),
    "separable convolutions, uneven channels": partial(trained, "uneven"),
}


def distillation() -> None:
    """The demo's network without four fifths of its multiplications, trained on 400 digits alone and with a teacher."""
    source = load_source("edgecomp.demo:model")
    assert source.evaluation_data is not None, "the demo has labelled data"
    digits = collect_evaluation(source.evaluation_data(), source.input_specs, subject="the test digits")
    bench = Workbench(source, load_target("raspberry-pi-4b"), evaluation=digits)
    student = copy.deepcopy(bench.teacher)
    ChannelPruning(keep=0.2, multiple=2).apply(student, bench)
    print(f"teacher {bench.metric(bench.teacher):.4f}, pruned {bench.metric(student):.4f}", flush=True)
    training = {"epochs": 12, "batch_size": 32, "learning_rate": 4e-3, "schedule": "one-cycle"}
    ways = {"alone": FineTuning(**training), "distilled": DistillationStep(**training)}
    ways |= {
        f"temperature {temperature:g}, {weight:g} of the loss": DistillationStep(
            **training, temperature=temperature, teacher_weight=weight
        )
        for temperature, weight in ((1, 0.7), (2, 1), (4, 0.3), (4, 0.7))
    }
    print("| | mean | each seed |\n|---|---|---|")
    for name, step in ways.items():
        found = []
        for seed in range(5):
            module = copy.deepcopy(student)
            step.apply(module, replace(bench, seed=seed, evaluation=None, training_samples=400))
            found.append(bench.metric(module) or 0.0)
        print(f"| {name} | {statistics.mean(found):.4f} | {', '.join(f'{each:.3f}' for each in found)} |", flush=True)


def tested() -> Iterator[tuple[tuple[torch.Tensor], torch.Tensor]]:
    """The test pictures, as many at once as the graphs take."""
    images, numbers = task.pictures("t10k"), task.numbers_of("t10k")
    return (((some,), those) for some, those in zip(images.split(BATCH), numbers.split(BATCH), strict=True))


def rounding(networks: Sequence[str] = ("",)) -> None:
    """int8 as it comes, and trained with rounding: the metric of the simulation and what artifacts differ from it."""
    ways: dict[str, tuple[QuantizationAwareTraining, ...]] = {
        "int8": (),
        "trained on labels": (QuantizationAwareTraining(epochs=1, batch_size=BATCH),),
        "trained on labels and the float network": (
            QuantizationAwareTraining(epochs=1, batch_size=BATCH, teacher="original"),
        ),
    }
    limits = DataLimits(evaluation_samples=10_000, training_samples=10_000)
    print("| network | | accuracy | artifacts | lost, points | seconds |\n|---|---|---|---|---|---|", flush=True)
    chosen = {name: make for name, make in NETWORKS.items() if any(part in name for part in networks)}
    for name, make in chosen.items():
        source = load_source(make(), example_inputs=(task.pictures("t10k")[:BATCH],))
        metrics = Metrics(adapt_metric(task.metric, source, "fashion_mnist"))
        source = replace(source, train_data=task.train_data, loss=task.loss, metrics=metrics)
        for way, steps in ways.items():
            recipe = Recipe("linux-x86-64", data=limits, steps=(StaticQuantization(), *steps))
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                verification = compress(
                    source,
                    recipe.target,
                    Path(folder) / "result",
                    recipe=recipe,
                    calibration=task.calibration_data,
                    evaluation=tested,
                    tolerance=Tolerance().of_the_simulation(),
                    progress=show,
                ).verification
            seconds = time.perf_counter() - start
            original = verification.metrics["metric"]
            simulated, *artifacts = (verdict.metrics["metric"] for verdict in verification.verdicts)
            if not steps:
                print(f"| **{name}** | float | {original:.4f} | | | |")
            apart = max(abs(each - simulated) for each in artifacts)
            lost = 100 * (original - simulated)
            print(f"| | {way} | {simulated:.4f} | {100 * apart:.2f} | {lost:.2f} | {seconds:.0f} |", flush=True)


def speed() -> None:
    """A step of the module with its BatchNorm, and one of the rounded graph, on one thread."""
    torch.set_num_threads(1)
    images, numbers = task.pictures("train")[:100], task.numbers_of("train")[:100]
    for name, module in (("ResNet", task.resnet()), ("MobileNet", task.mobilenet())):
        source = load_source(module.eval(), example_inputs=task.example_inputs())
        batches = [(row[None].numpy(),) for row in images[:16]]
        rounded = RoundingModule(quantize_static(prepare(source), batches), structure_of(source))

        def step(trained: nn.Module) -> Callable[[], None]:
            optimizer = torch.optim.AdamW(trained.train().parameters())

            def run() -> None:
                optimizer.zero_grad()
                task.loss(trained(images), numbers).backward()
                optimizer.step()

            return run

        before, after = (fastest(step(each)) for each in (module, rounded))
        print(f"{name}: float {before * 1e3:.0f} ms, rounded {after * 1e3:.0f} ms, {after / before:.2f} times")


def fastest(run: Callable[[], None], runs: int = 15) -> float:
    """The shortest of some times, in seconds: what others do on the machine only adds to it."""
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def show(stage: str, done: int, total: int, note: str = "", /) -> None:
    """A line in a terminal."""
    if sys.stderr.isatty():
        print(f"\r{stage} {done}/{total} {note}   ", end="", file=sys.stderr)


def main() -> None:
    """Runs what was chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="+", choices=("distillation", "rounding", "speed"))
    parser.add_argument("--networks", default="", help="of `rounding`: parts of names, with commas between")
    options = parser.parse_args()
    commands = {
        "distillation": distillation,
        "rounding": partial(rounding, options.networks.split(",")),
        "speed": speed,
    }
    for command in options.commands:
        commands[command]()


if __name__ == "__main__":
    main()
