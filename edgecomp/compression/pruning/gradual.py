"""Weights become zero while a module is trained, ever more of them."""

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

#: How often the masks of a cubic course are made anew, in steps of the optimizer.
_EVERY = 10


def prune_gradually(module: torch.nn.Module, bench: Workbench, settings: GradualWeightPruning) -> Changed:
    """Trains a module in place while the smallest weights of every layer become zero.

    Args:
        module: What is trained.
        bench: Data and loss.
        settings: See `GradualWeightPruning`.

    Returns:
        The module, and as facts those of the training, how many weights there are, and how many are zero.

    Raises:
        InputError: A protected layer does not exist.
        DataError: There are no training data.
    """
    layers = weighted_layers(module, settings.protected, f"{bench.source.name}: the step {settings.kind}")
    masks = GradualMasks(layers, settings, bench.training.steps(settings.batch_size))
    report = train(module, bench, settings, callbacks=[masks])
    # A loop of the task's own knows nothing of callbacks.
    masks.make(settings.sparsity)
    return Changed(module, {**report.facts, **zeros_of(layers)})


class GradualMasks(Callback):
    """Masks the smallest weights of layers, as many as the course of the training says.

    Which these are follows from the weights alone, so that training that is resumed goes on with the same masks.

    Args:
        layers: By path.
        settings: The course.
        steps: How many steps an epoch has.
    """

    def __init__(self, layers: Mapping[str, Any], settings: GradualWeightPruning, steps: int) -> None:
        self._layers, self._settings, self._steps = layers, settings, steps
        self._done = 0

    def before_epoch(self, module: torch.nn.Module, number: int) -> None:
        """Begins where the epoch does."""
        self._done = number * self._steps
        self.make(self.sparsity)

    def after_step(self, module: torch.nn.Module) -> None:
        """Masks more weights, now and then."""
        self._done += 1
        if self._done % _EVERY == 0 or self._done % self._steps == 0:
            self.make(self.sparsity)

    @property
    def sparsity(self) -> float:
        """What it should be now."""
        progress = self._done / (self._steps * self._settings.epochs * self._settings.ramp)
        return COURSES[self._settings.course](min(progress, 1.0), self._settings.sparsity, self._settings.rounds)

    def make(self, sparsity: float) -> None:
        """Masks the smallest weights."""
        for layer in self._layers.values():
            set_mask(layer, "weight", keep_largest(layer.weight.detach().abs(), sparsity))


def cubic(progress: float, final: float, rounds: int) -> float:
    """Sparsity after a share of the training."""
    return final * (1 - (1 - progress) ** 3)


def in_rounds(progress: float, final: float, rounds: int) -> float:
    """Sparsity after a share of the training: every round begins with removing its share of what is left."""
    begun = min(int(progress * rounds) + 1, rounds)
    return 1.0 - math.pow(1 - final, begun / rounds)


COURSES: dict[Literal["cubic", "rounds"], Callable[[float, float, int], float]] = {"cubic": cubic, "rounds": in_rounds}
