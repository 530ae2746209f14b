"""Runs the training loop with the data, loss and metric of a task."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edgecomp.compression.evaluation import metric_of, quality_of
from edgecomp.compression.training.checkpoint import Checkpoint
from edgecomp.compression.training.data import Batch, TrainingData
from edgecomp.compression.training.loop import Callback, Epoch, History, fit
from edgecomp.compression.training.masks import apply_masks
from edgecomp.compression.training.objective import Objective, Sum, TaskObjective, task_loss
from edgecomp.compression.training.penalties import SparsityPenalty
from edgecomp.compression.training.settings import Training
from edgecomp.errors import EdgecompError, TrainingError
from edgecomp.frontends.source import Source
from edgecomp.frontends.torch_module import hash_state
from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class Report:
    """The record of a training run.

    Attributes:
        history: Its epochs; none if the task's own loop ran.
        samples: The number of training samples.
        digest: SHA-256 of these samples.
    """

    history: History
    samples: int
    digest: str

    @property
    def facts(self) -> dict[str, Any]:
        """The facts for the provenance."""
        facts: dict[str, Any] = {"training_samples": self.samples, "training_sha256": self.digest}
        epochs = self.history.epochs
        if epochs:
            facts |= {"epochs": len(epochs), "losses": [round(epoch.loss, 6) for epoch in epochs]}
        if self.history.best is not None:
            facts["best_epoch"] = self.history.best
        return facts


def train(
    module: torch.nn.Module,
    bench: Workbench,
    settings: Training,
    *,
    objective: Objective | None = None,
    callbacks: Sequence[Callback] = (),
    source: Source | None = None,
) -> Report:
    """Trains a module in place on the task's data, in the task's own loop if it has one.

    Args:
        module: The module to train; in eval mode afterwards.
        bench: Provides data, loss, metric and progress.
        settings: The settings; their kind names the progress.
        objective: The objective to minimize; by default the task's loss.
        callbacks: Called on the way, before the task's own `on_epoch`.
        source: The source whose metric to report, if not `bench.source`.

    Returns:
        The record of the run.

    Raises:
        DataError: There are no training data.
        TrainingError: The loss is not finite, or cannot be computed.
    """
    source = source or bench.source
    stage = str(getattr(settings, "kind", "train"))
    goal = objective if objective is not None else TaskObjective(task_loss(source))
    if settings.l1 or settings.group_lasso:
        goal = Sum((goal, 1.0), (SparsityPenalty(settings.l1, settings.group_lasso), 1.0))
    data = bench.training
    if bench.source.train is not None:
        _run_own(bench.source, module, goal, _Batches(bench, settings), settings)
        return Report(History(()), len(data), data.samples.digest)
    evaluation = bench.evaluation

    def metric(trained: torch.nn.Module) -> float | None:
        return None if evaluation is None else metric_of(trained, source, TrainingData.all_of(evaluation))

    def score(trained: torch.nn.Module, held_out: TrainingData) -> float:
        measured = quality_of(trained, source, held_out)
        return -_mean_loss(trained, goal, held_out, settings.batch_size) if measured is None else measured

    folder = bench.checkpoints
    name = f"{stage}-{_fingerprint(module, goal, data, settings, bench.seed)}.pt"
    history = fit(
        module,
        goal,
        lambda number: _samples(bench, settings, number),
        settings,
        seed=bench.seed,
        score=score,
        metric=metric,
        callbacks=(*callbacks, *_own_callback(bench.source)),
        checkpoint=None if folder is None else Checkpoint(folder / name),
        stage=stage,
        progress=bench.progress,
    )
    return Report(history, len(data), data.samples.digest)


class _OnEpoch(Callback):
    """Calls the task's function `on_epoch(module, epoch)`."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def after_epoch(self, module: torch.nn.Module, epoch: Epoch) -> bool | None:
        """Calls the function; True ends the training."""
        return bool(self._function(module, epoch))


def _own_callback(source: Source) -> list[Callback]:
    return [] if source.on_epoch is None else [_OnEpoch(source.on_epoch)]


@dataclass(frozen=True)
class _Batches:
    """The batches for a task's own loop: called with the number of an epoch, returns that epoch's batches."""

    bench: Workbench
    settings: Training

    def __call__(self, number: int = 0) -> Iterator[Batch]:
        samples = _samples(self.bench, self.settings, number)
        return samples.shuffled(self.settings.batch_size, self.bench.seed + number)


def _run_own(source: Source, module: torch.nn.Module, goal: Objective, batches: _Batches, settings: Training) -> None:
    assert source.train is not None
    module.train()
    try:
        source.train(module, goal, batches, settings)
    except EdgecompError:
        raise
    except Exception as error:
        raise TrainingError(
            f"{source.name}: train()",
            expected="a loop that trains the module in place",
            actual=f"{type(error).__name__}: {error}",
            cure="make train(module, objective, batches, settings) work: "
            "objective(module, inputs, labels) is the loss, batches(epoch) gives (inputs, labels)",
        ) from error
    apply_masks(module)
    module.eval()


def _samples(bench: Workbench, settings: Training, number: int) -> TrainingData:
    if number == 0 or not settings.fresh_data:
        return bench.training
    random.seed(bench.seed + number)
    np.random.seed((bench.seed + number) % 2**32)
    torch.manual_seed(bench.seed + number)
    return bench.collect_training()


def _mean_loss(module: torch.nn.Module, goal: Objective, data: TrainingData, size: int) -> float:
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    total = count = 0.0
    with torch.no_grad():
        for inputs, labels in data.in_order(size):
            total += len(labels) * float(goal(module, tuple(each.to(device) for each in inputs), labels.to(device)))
            count += len(labels)
    return total / count


def _fingerprint(module: torch.nn.Module, goal: Objective, data: TrainingData, settings: Training, seed: int) -> str:
    """Returns a name that identifies runs by everything that determines their weights."""
    parts: Mapping[str, Any] = {
        "module": hash_state(module.state_dict()),
        "objective": hash_state(goal.state_dict()),
        "data": data.samples.digest,
        "settings": repr(settings),
        "seed": seed,
    }
    return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()[:16]
