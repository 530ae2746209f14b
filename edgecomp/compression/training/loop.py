"""The training loop.

All randomness follows from the seed and the epoch's number, and the learning rate from the step's number. A run that
resumes from a checkpoint therefore gives the same weights as one that was never interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import torch

from edgecomp.compression.training.checkpoint import Checkpoint
from edgecomp.compression.training.data import Batch, TrainingData
from edgecomp.compression.training.layout import fastest_layout
from edgecomp.compression.training.masks import apply_masks
from edgecomp.compression.training.objective import Objective
from edgecomp.compression.training.optimizers import OPTIMIZERS, learning_rate
from edgecomp.compression.training.settings import Training
from edgecomp.errors import TrainingError
from edgecomp.progress import Progress, silent

State = dict[str, Any]


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch.

    Attributes:
        number: Counted from 0.
        loss: The mean of the objective.
        score: The score on held-out samples, larger is better; None without such samples.
        metric: The task's metric on its evaluation data, only reported and never used for decisions; None without one.
    """

    number: int
    loss: float
    score: float | None = None
    metric: float | None = None


@dataclass(frozen=True)
class History:
    """The result of a training run.

    Attributes:
        epochs: One entry for each, including those before an interruption.
        best: The number of epochs after which the module was best on held-out samples; 0 means before training. The
            module has the weights of that time. None if nothing was held out.
    """

    epochs: tuple[Epoch, ...]
    best: int | None = None


class Callback:
    """Hooks into the training loop; override what you need."""

    def before_epoch(self, module: torch.nn.Module, number: int) -> None:
        """Called before an epoch, counted from 0."""

    def after_step(self, module: torch.nn.Module) -> None:
        """Called after the optimizer has changed the weights and masks were applied."""

    def after_epoch(self, module: torch.nn.Module, epoch: Epoch) -> bool | None:
        """Called after an epoch; returning True ends the training."""


def fit(
    module: torch.nn.Module,
    objective: Objective,
    data: Callable[[int], TrainingData],
    settings: Training,
    *,
    seed: int = 0,
    score: Callable[[torch.nn.Module, TrainingData], float] | None = None,
    metric: Callable[[torch.nn.Module], float | None] = lambda module: None,
    callbacks: Sequence[Callback] = (),
    checkpoint: Checkpoint | None = None,
    stage: str = "train",
    progress: Progress = silent,
) -> History:
    """Trains a module in place.

    Args:
        module: On any device; it is returned there at the end, in eval mode.
        objective: The objective to minimize.
        data: The number of an epoch -> its samples.
        settings: Epochs, optimizer, schedule.
        seed: The seed of sample order and dropout.
        score: Measures the module on held-out samples; larger is better. Needed for `early_stop`.
        metric: A measure to report after each epoch besides the loss.
        callbacks: Called on the way, in order.
        checkpoint: Where to save after each epoch, and to resume from.
        stage: The name of the progress.
        progress: Called after each step.

    Returns:
        The history of the run.

    Raises:
        TrainingError: The loss is not finite; the module has the weights of the last good epoch.
    """
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    fastest = torch.device("cuda") if torch.cuda.is_available() else device
    run = _Run(module.to(fastest), objective.to(fastest), data, settings, seed, callbacks, fastest)
    try:
        with fastest_layout(module, objective, *run.example()):
            run.resume(checkpoint.load() if checkpoint is not None else None)
            if score is not None and not run.history:
                run.begin(score)
            while run.goes_on:
                loss = run.train(lambda done, note: progress(stage, done, run.steps, note))
                held_out = run.held_out
                epoch = Epoch(
                    len(run.history),
                    loss,
                    score(module, held_out) if held_out is not None and score is not None else None,
                    metric(module),
                )
                run.finish(epoch)
                if checkpoint is not None:
                    checkpoint.save(run.state())
            run.keep_best()
    finally:
        module.to(device).eval()
    return History(tuple(run.history), run.best)


class _Run:
    """The state of a training run between epochs."""

    def __init__(
        self,
        module: torch.nn.Module,
        objective: Objective,
        data: Callable[[int], TrainingData],
        settings: Training,
        seed: int,
        callbacks: Sequence[Callback],
        device: torch.device,
    ) -> None:
        self._module, self._objective, self._data = module, objective, data
        self._settings, self._seed, self._callbacks, self._device = settings, seed, callbacks, device
        self._weights = [each for each in chain(module.parameters(), objective.parameters()) if each.requires_grad]
        self._optimizer = OPTIMIZERS[settings.optimizer](self._weights, settings)
        self._per_epoch = self._samples(0)[1].steps(settings.batch_size)
        self._first: float | None = None
        self._best: State | None = None
        self._ended = False
        self.history: list[Epoch] = []
        self.steps = self._per_epoch * settings.epochs
        self.held_out: TrainingData | None = None

    @property
    def goes_on(self) -> bool:
        """Whether another epoch follows."""
        return len(self.history) < self._settings.epochs and not self._ended and self._waited < self._settings.patience

    @property
    def best(self) -> int | None:
        """The number of epochs after which the held-out score was best; 0 only if training made it worse."""
        scores = [epoch.score for epoch in self.history if epoch.score is not None]
        if not scores:
            return None
        highest = max(scores)
        return 0 if self._first is not None and self._first > highest else scores.index(highest) + 1

    @property
    def _waited(self) -> int:
        """The number of epochs since the best one."""
        return 0 if self.best is None else len(self.history) - self.best

    def begin(self, score: Callable[[torch.nn.Module, TrainingData], float]) -> None:
        """Scores the module before training, if samples are held out."""
        self.held_out, _ = self._samples(0)
        if self.held_out is not None:
            self._first = score(self._module.eval(), self.held_out)
            self._best = deepcopy(self._module.state_dict())

    def example(self) -> Batch:
        """Returns two samples, on the device of the module."""
        return self._there(*self._samples(0)[1].largest(2))

    def train(self, tell: Callable[[int, str], None]) -> float:
        """Trains one epoch, and returns its mean loss."""
        number = len(self.history)
        good = deepcopy(self._module.state_dict())
        for callback in self._callbacks:
            callback.before_epoch(self._module, number)
        self.held_out, used = self._samples(number)
        total = 0.0
        with torch.random.fork_rng(devices=[] if self._device.type == "cpu" else None):
            torch.manual_seed(_seed_of(self._seed, number))
            self._module.train()
            batches = used.shuffled(self._settings.batch_size, _seed_of(self._seed, number))
            for index, (inputs, labels) in enumerate(batches):
                step = number * self._per_epoch + index
                loss = self._step(step, *self._there(inputs, labels))
                total += loss
                if not math.isfinite(loss):
                    break
                tell(min(step + 1, self.steps), self._note(total / (index + 1)))
            self._module.eval()
        if not math.isfinite(total) or not all(bool(weight.isfinite().all()) for weight in self._weights):
            self._module.load_state_dict(good)
            raise self._diverged(number)
        return total / (index + 1)

    def finish(self, epoch: Epoch) -> None:
        """Records a finished epoch."""
        self.history.append(epoch)
        if epoch.score is not None and self._waited == 0:
            self._best = deepcopy(self._module.state_dict())
        ends = [callback.after_epoch(self._module, epoch) for callback in self._callbacks]
        self._ended = any(ends)

    def keep_best(self) -> None:
        """Restores the weights with the best held-out score, if samples are held out."""
        if self._best is not None:
            self._module.load_state_dict(self._best)

    def state(self) -> State:
        """Returns all that `resume` needs: tensors and numbers."""
        return {
            "module": self._module.state_dict(),
            "objective": self._objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "first": self._first,
            "best": self._best,
            "ended": self._ended,
            "history": [asdict(epoch) for epoch in self.history],
        }

    def resume(self, state: State | None) -> None:
        """Continues from the result of `state`."""
        if state is None:
            return
        self._module.load_state_dict(state["module"])
        self._objective.load_state_dict(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._first, self._best, self._ended = state["first"], state["best"], state["ended"]
        self.history = [Epoch(**epoch) for epoch in state["history"]]

    def _samples(self, number: int) -> tuple[TrainingData | None, TrainingData]:
        """Returns the held-out samples of an epoch, and those to train on."""
        samples = self._data(number)
        if not self._settings.early_stop or len(samples) < 2:
            return None, samples
        return samples.split(self._settings.validation, self._seed)

    def _there(self, inputs: tuple[torch.Tensor, ...], labels: torch.Tensor) -> Batch:
        return tuple(each.to(self._device) for each in inputs), labels.to(self._device)

    def _step(self, step: int, inputs: tuple[torch.Tensor, ...], labels: torch.Tensor) -> float:
        settings = self._settings
        for group in self._optimizer.param_groups:
            group["lr"] = settings.learning_rate * learning_rate(settings, step, self.steps)
        self._optimizer.zero_grad(set_to_none=True)
        half = settings.mixed_precision == "on" or (settings.mixed_precision == "auto" and self._device.type == "cuda")
        with torch.autocast(self._device.type, torch.bfloat16, enabled=half):
            loss: torch.Tensor = self._objective(self._module, inputs, labels)
        if not loss.requires_grad:
            raise TrainingError(
                "the loss",
                expected="a number that depends on the weights of the module",
                actual="one that depends on none of them",
                cure="compute the loss from the outputs with torch, without detach() or numpy; leave some weights free",
            )
        loss.backward()  # type: ignore[no-untyped-call]
        if settings.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._weights, settings.clip_norm)
        value = float(loss.detach())
        if math.isfinite(value):
            self._optimizer.step()
            apply_masks(self._module)
            for callback in self._callbacks:
                callback.after_step(self._module)
        return value

    def _note(self, loss: float) -> str:
        before = self.history[-1] if self.history else None
        metric = f", metric {before.metric:.4f}" if before is not None and before.metric is not None else ""
        return f"loss {loss:.4f}{metric}"

    def _diverged(self, number: int) -> TrainingError:
        return TrainingError(
            f"the training, epoch {number + 1} of {self._settings.epochs}",
            expected="a loss and weights that are finite numbers",
            actual=f"NaN or infinity; the weights after epoch {number} are kept",
            cure=f"lower learning_rate (it was {self._settings.learning_rate:g}), set clip_norm = 1.0, or check loss()",
        )


def _seed_of(seed: int, epoch: int) -> int:
    """Returns the seed of one epoch's order and dropout, different for all epochs of neighbouring seeds."""
    return (seed * 1_000_003 + epoch) % 2**31
