"""Sets more and more weights to zero while a module is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch

from edgecomp.compression.pruning.unstructured import keep_largest, weighted_layers, zeros_of
from edgecomp.compression.pruning.weights import GradualWeightPruning
from edgecomp.compression.training.loop import Callback
from edgecomp.compression.training.masks import set_mask
from edgecomp.compression.training.run import train
from edgecomp.step import Changed
from edgecomp.workbench import Workbench

#: How often masks are updated on a cubic schedule, in optimizer steps.
_EVERY = 10


def prune_gradually(module: torch.nn.Module, bench: Workbench, settings: GradualWeightPruning) -> Changed:
    """Trains a module in place while the smallest weights of every layer become zero.

    Args:
        module: The module to train.
        bench: Provides data and loss.
        settings: See `GradualWeightPruning`.

    Returns:
        The module, and as facts those of the training, the number of weights, and how many of them are zero.

    Raises:
        InputError: A protected layer does not exist.
        DataError: There are no training data.
    """
    layers = weighted_layers(module, settings.protected, f"{bench.source.name}: the step {settings.kind}")
    masks = GradualMasks(layers, settings, bench.training.steps(settings.batch_size))
    report = train(module, bench, settings, callbacks=[masks])
    # The task's own training loop does not call callbacks.
    masks.make(settings.sparsity)
    return Changed(module, {**report.facts, **zeros_of(layers)})


class GradualMasks(Callback):
    """Masks the smallest weights of layers, as many as the schedule asks for.

    The masks follow from the weights alone, so that resumed training continues with the same masks.

    Args:
        layers: The layers by path.
        settings: The schedule.
        steps: Steps in an epoch.
    """

    def __init__(self, layers: Mapping[str, Any], settings: GradualWeightPruning, steps: int) -> None:
        self._layers, self._settings, self._steps = layers, settings, steps
        self._done = 0

    def before_epoch(self, module: torch.nn.Module, number: int) -> None:
        """Sets the step count to the start of the epoch."""
        self._done = number * self._steps
        self.make(self.sparsity)

    def after_step(self, module: torch.nn.Module) -> None:
        """Masks more weights every few steps."""
        self._done += 1
        if self._done % _EVERY == 0 or self._done % self._steps == 0:
            self.make(self.sparsity)

    @property
    def sparsity(self) -> float:
        """The sparsity that the schedule asks for now."""
        progress = self._done / (self._steps * self._settings.epochs * self._settings.ramp)
        return COURSES[self._settings.course](min(progress, 1.0), self._settings.sparsity, self._settings.rounds)

    def make(self, sparsity: float) -> None:
        """Masks the smallest weights."""
        for layer in self._layers.values():
            set_mask(layer, "weight", keep_largest(layer.weight.detach().abs(), sparsity))


def cubic(progress: float, final: float, rounds: int) -> float:
    """Returns the sparsity after a share of the training, on a cubic schedule."""
    return final * (1 - (1 - progress) ** 3)


def in_rounds(progress: float, final: float, rounds: int) -> float:
    """Returns the sparsity after a share of the training: every round starts by removing its share of what is left."""
    begun = min(int(progress * rounds) + 1, rounds)
    return 1.0 - math.pow(1 - final, begun / rounds)


COURSES: dict[Literal["cubic", "rounds"], Callable[[float, float, int], float]] = {"cubic": cubic, "rounds": in_rounds}
