"""Optimizers and schedules by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import optim

from edgecomp.compression.training.settings import OptimizerName, ScheduleName, Training

Parameters = Iterable[torch.nn.Parameter]

OPTIMIZERS: dict[OptimizerName, Callable[[Parameters, Training], optim.Optimizer]] = {
    "sgd": lambda weights, given: optim.SGD(
        weights,
        given.learning_rate,
        momentum=given.momentum,
        nesterov=given.momentum > 0,
        weight_decay=given.weight_decay,
    ),
    "adam": lambda weights, given: optim.Adam(weights, given.learning_rate, weight_decay=given.weight_decay),
    "adamw": lambda weights, given: optim.AdamW(weights, given.learning_rate, weight_decay=given.weight_decay),
    "radam": lambda weights, given: optim.RAdam(weights, given.learning_rate, weight_decay=given.weight_decay),
    "nadam": lambda weights, given: optim.NAdam(weights, given.learning_rate, weight_decay=given.weight_decay),
    "rmsprop": lambda weights, given: optim.RMSprop(
        weights, given.learning_rate, momentum=given.momentum, weight_decay=given.weight_decay
    ),
    "adagrad": lambda weights, given: optim.Adagrad(weights, given.learning_rate, weight_decay=given.weight_decay),
}


def _one_cycle(done: float) -> float:
    """Rises for three tenths of the time, and falls for the rest (Smith and Topin, 2017)."""
    rising = 0.3
    if done < rising:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * done / rising)) / 2
    return (1 + math.cos(math.pi * (done - rising) / (1 - rising))) / 2


#: The learning rate as a share of the largest, by the share of all steps that are done. It depends on nothing else, so
#: that a resumed run continues with the same rates.
SCHEDULES: dict[ScheduleName, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
    "step": lambda done: 0.1 ** int(done * 3),
    "one-cycle": _one_cycle,
}


def learning_rate(settings: Training, step: int, steps: int) -> float:
    """Returns the share of the learning rate in step `step` of `steps`, including warm-up."""
    done, warmup = step / steps, settings.warmup
    if done < warmup:
        return (step + 1) / (warmup * steps + 1)
    return SCHEDULES[settings.schedule]((done - warmup) / (1 - warmup))
