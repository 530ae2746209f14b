"""What distillation and quantization-aware training gain, and what a rounded training step costs.

    python benchmarks/learning.py distillation     # digits: what pruning left, trained alone and with a teacher
    apt-get install dataset-fashion-mnist
    python benchmarks/learning.py rounding         # int8 without and with training, well and badly calibrated
    python benchmarks/learning.py speed            # time of a training step, float and rounded

The last two train on the first 5,000 pictures of 60,000, so that a run takes minutes; accuracies are on the first 5,000
test pictures. What is rounded is the MobileNet of examples/fashion_mnist.py, trained on the same pictures.
Each command prints the rows that docs/results.md shows.
"""

from __future__ import annotations

import copy
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
from edgecomp.compression.pruning.channels import ChannelPruning
from edgecomp.compression.quantization_aware.module import RoundingModule
from edgecomp.compression.quantization_aware.step import QuantizationAwareTraining, structure_of
from edgecomp.data import collect_calibration, collect_evaluation
from edgecomp.frontends import load_source
from edgecomp.frontends.torch_module import adapt_metric
from edgecomp.preparation import prepare
from edgecomp.quantization.static import StaticQuantization, quantize_static
from edgecomp.target import load_target
from edgecomp.workbench import Workbench

SAMPLES = 5_000


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
    """The demo's network without four fifths of its multiplications, trained on 400 digits alone and with a teacher."""
    source = load_source("edgecomp.demo:model")
    assert source.evaluation_data is not None, "the demo has labelled data"
    tested = collect_evaluation(source.evaluation_data(), source.input_specs, subject="the test digits")
    bench = Workbench(source, load_target("raspberry-pi-4b"), evaluation=tested)
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
