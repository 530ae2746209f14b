"""The settings of training in a recipe; this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgecomp.step import check_setting

OptimizerName = Literal["sgd", "adam", "adamw", "radam", "nadam", "rmsprop", "adagrad"]
ScheduleName = Literal["constant", "cosine", "linear", "step", "one-cycle"]


@dataclass(frozen=True)
class Training:
    """Settings of a training run, shared by every step that trains.

    Attributes:
        epochs: Passes over the training data.
        batch_size: Samples in a step; the batches of train_data() are regrouped.
        optimizer: By name (see `optimizers`).
        learning_rate: The largest learning rate of the schedule.
        momentum: The momentum of sgd (Nesterov's) and rmsprop.
        weight_decay: Decoupled in adamw, an L2 penalty elsewhere.
        schedule: The schedule of the learning rate, by name (see `optimizers`).
        warmup: The share of all steps in which the learning rate rises from 0, in [0, 1).
        l1: A penalty on the absolute value of each weight; 0 for none (see `penalties`).
        group_lasso: A penalty on the norm of each output channel's weights, which makes channels zero; 0 for none.
        clip_norm: The largest norm of all gradients together; 0 for no limit.
        early_stop: Whether to hold out a part of the training data, to stop when the score on it no longer improves,
            and to keep the weights that were best on it. They may be those from before training, if it only made things
            worse.
        patience: How many epochs early_stop waits for an improvement.
        validation: The share of the training data that early_stop holds out, in (0, 1).
        fresh_data: Whether to call train_data() again for each epoch, because it augments at random.
        mixed_precision: Where to multiply in bfloat16: "auto" on a GPU, "on" everywhere, "off" nowhere.
    """

    epochs: int = 10
    batch_size: int = 64
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: ScheduleName = "cosine"
    warmup: float = 0.0
    l1: float = 0.0
    group_lasso: float = 0.0
    clip_norm: float = 0.0
    early_stop: bool = False
    patience: int = 3
    validation: float = 0.1
    fresh_data: bool = False
    mixed_precision: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            check_setting(getattr(self, name) >= 1, self, name, "a whole number above 0")
        check_setting(self.learning_rate > 0, self, "learning_rate", "a number above 0")
        for name in ("weight_decay", "clip_norm", "l1", "group_lasso"):
            check_setting(getattr(self, name) >= 0, self, name, "0 or more")
        for name in ("momentum", "warmup"):
            check_setting(0 <= getattr(self, name) < 1, self, name, "a number in [0, 1)")
        check_setting(0 < self.validation < 1, self, "validation", "a share in (0, 1)")
