"""The distillation loss: student and teachers run once on a batch, and every term compares them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import nn

from edgecomp.compression.distillation.adversarial import moved
from edgecomp.compression.distillation.features import Pairs
from edgecomp.compression.distillation.lessons import Teachers, flat
from edgecomp.compression.distillation.terms import Seen, Term
from edgecomp.compression.training.objective import Inputs, Loss, Objective
from edgecomp.errors import InputError

Tensor = torch.Tensor


@dataclass(frozen=True)
class Adversary:
    """Settings of adversarial inputs.

    Attributes:
        loss: The loss that a move increases.
        step: How far to move.
    """

    loss: Loss
    step: float


class Distillation(Objective):
    """A weighted sum of terms.

    Args:
        teachers: The teachers; features are compared with those of the first one.
        terms: The terms with their weights.
        features: Pairs of layers whose outputs are compared, with projections.
        maps: Pairs of layers whose attention is compared.
        adversary: Moves the student's inputs, but not the teachers'.
    """

    def __init__(
        self,
        teachers: Teachers,
        terms: Sequence[tuple[float, Term]],
        *,
        features: Pairs | None = None,
        maps: Pairs | None = None,
        adversary: Adversary | None = None,
    ) -> None:
        super().__init__()
        self._teachers = teachers
        self._terms, self._adversary = tuple(terms), adversary
        self.features, self.maps = features, maps

    def forward(self, module: nn.Module, inputs: Inputs, labels: Tensor) -> Tensor:
        """Runs student and teachers, and returns the sum of the terms."""
        own = inputs
        if self._adversary is not None and torch.is_grad_enabled():
            own = moved(module, inputs, labels, self._adversary.loss, self._adversary.step)
        first = self._teachers.modules[0].to(inputs[0].device)
        with ExitStack() as watches:
            features, maps = (
                watches.enter_context(pairs.watch(module, first)) if pairs is not None else []
                for pairs in (self.features, self.maps)
            )
            outputs = module(*own)
            taught = self._teachers(inputs)
        seen = Seen(outputs, labels, flat(outputs), taught, features, maps)
        return torch.stack([weight * term(seen) for weight, term in self._terms]).sum()


def check_alike(student: nn.Module, teachers: Sequence[nn.Module], inputs: Inputs) -> None:
    """Checks that the teachers' outputs have the same shapes as the student's.

    Raises:
        InputError: A teacher's outputs have other shapes.
    """
    with torch.no_grad():
        shapes = [[tuple(each.shape) for each in flat(module.eval()(*inputs))] for module in (student, *teachers)]
    for number, found in enumerate(shapes[1:], start=1):
        if found != shapes[0]:
            raise InputError(
                f"distill: teacher {number}",
                expected=f"outputs like the student's, of the shapes {shapes[0]}",
                actual=f"outputs of the shapes {found}",
                cure="wrap the teacher in a module that gives what the student gives",
            )
