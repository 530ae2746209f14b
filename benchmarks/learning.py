"""What distillation and quantization-aware training gain on Fashion-MNIST, and what a rounded training step costs.

    apt-get install dataset-fashion-mnist
    python benchmarks/learning.py distillation     # a small student alone, and with a teacher; three seeds
    python benchmarks/learning.py rounding         # int8 without and with training, well and badly calibrated
    python benchmarks/learning.py speed            # time of a training step, float and rounded

Everything trains on the first 5,000 pictures of 60,000, so that a run takes minutes; accuracies are on the first 5,000
test pictures. The teacher, and what is rounded, is the MobileNet of examples/fashion_mnist.py trained on the same
pictures. Each command prints the rows that docs/results.md shows.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[1] / "examples"))

import fashion_mnist as task

from edgecomp.compression.distillation.step import DistillationStep
from edgecomp.compression.fine_tuning import FineTuning
from edgecomp.compression.quantization_aware.module import RoundingModule
from edgecomp.compression.quantization_aware.step import QuantizationAwareTraining, structure_of
from edgecomp.compression.size import macs, parameters
from edgecomp.data import collect_calibration, collect_evaluation
from edgecomp.frontends import load_source
from edgecomp.frontends.torch_module import adapt_metric
from edgecomp.preparation import prepare
from edgecomp.quantization.static import StaticQuantization, quantize_static
from edgecomp.target import load_target
from edgecomp.workbench import Workbench

SAMPLES, SEEDS = 5_000, (0, 1, 2)


def student() -> nn.Module:
    """A tenth of the teacher's multiplications."""
    return nn.Sequential(
        task.ConvNorm(1, 8, 3, 2), nn.ReLU(), task.Inverted(8, 16, 8, 2), task.Inverted(8, 24, 16, 2), task.Head(16)
    ).eval()


def teacher() -> nn.Module:
    """Trained on first use, and kept where the example keeps its weights."""
    module, file = task.mobilenet(), task.WEIGHTS / f"mobilenet-{SAMPLES}.pt"
    if file.is_file():
        module.load_state_dict(torch.load(file, weights_only=True))
        return module.eval()
    torch.manual_seed(0)
    module = task.mobilenet()
    settings = FineTuning(epochs=12, batch_size=100, learning_rate=4e-3, weight_decay=1e-2, schedule="one-cycle")
    settings.apply(module, bench_of(module))
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), file)
    return module


def train_items() -> Iterator[tuple[tuple[torch.Tensor], torch.Tensor]]:
    """What everything trains on."""
    images, numbers = task.pictures("train")[:SAMPLES], task.numbers_of("train")[:SAMPLES]
    return (((batch,), answers) for batch, answers in zip(images.split(500), numbers.split(500), strict=True))


def bench_of(module: nn.Module, seed: int = 0) -> Workbench:
    """What steps work with."""
    source = load_source(module, example_inputs=task.example_inputs())
    metric = adapt_metric(task.metric, source, "fashion_mnist")
    source = replace(source, train_data=train_items, loss=task.loss, metric=metric)
    tested = collect_evaluation(task.evaluation_data(), source.input_specs, subject="the test pictures", limit=5_000)
    calibration = collect_calibration(task.calibration_data(), source.input_specs, subject="calibration")
    target = load_target("raspberry-pi-4b")
    return Workbench(source, target, seed, calibration, show, tested)


def distillation() -> None:
    """The same student, from the same weights, on the same pictures, alone and with the teacher."""
    teaching = teacher()
    bench = bench_of(teaching)
    inputs = bench.source.inputs
    print(f"teacher: {bench.metric(teaching):.4f}, {parameters(teaching)} parameters, {macs(teaching, inputs)} MACs")
    print(f"student: {parameters(student())} parameters, {macs(student(), inputs)} MACs", flush=True)
    common = {"epochs": 6, "batch_size": 100, "learning_rate": 8e-3, "schedule": "one-cycle"}
    ways = {
        "alone": FineTuning(**common),
        "distilled, temperature 4": DistillationStep(**common, teacher_weight=0.9),
    }
    for name, step in ways.items():
        found = []
        for seed in SEEDS:
            torch.manual_seed(seed)
            trained = step.apply(student(), replace(bench, seed=seed)).module
            found.append(bench.metric(trained) or 0.0)
        each = ", ".join(f"{metric:.4f}" for metric in found)
        print(f"{name}: mean {statistics.mean(found):.4f} ({each})", flush=True)


def rounding() -> None:
    """int8 after training, and then trained with rounding."""
    module = teacher()
    bench = bench_of(module)
    model = prepare(bench.source)
    print(f"float {bench.metric(module):.4f}", flush=True)
    for estimator, brighter in (("mse", 1), ("minmax", 1), ("minmax", 30)):
        first, *others = bench.calibration_batches()
        batches = [tuple(brighter * each for each in first), *others]
        rounded = quantize_static(model, batches, StaticQuantization(estimator))
        step = QuantizationAwareTraining(epochs=2, batch_size=100, learning_rate=1e-3, teacher="original")
        facts = step.apply(rounded, bench).provenance[-1].facts
        what = estimator if brighter == 1 else f"{estimator}, the first calibration picture {brighter} times as bright"
        print(f"{what}: int8 {facts['metric_before']:.4f}, trained {facts['metric']:.4f}", flush=True)


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


COMMANDS = {"distillation": distillation, "rounding": rounding, "speed": speed}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or COMMANDS:
        COMMANDS[chosen]()
