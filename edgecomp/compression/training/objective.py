"""What training minimizes: the task's loss, and terms that can be added to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from edgecomp.errors import TrainingError
from edgecomp.frontends.source import Source

Inputs = tuple[torch.Tensor, ...]

#: loss(outputs, labels): the module's outputs, and the labels of the data; returns one number to minimize.
Loss = Callable[[Any, torch.Tensor], torch.Tensor]


class Objective(nn.Module):
    """A function of the whole module, not only of its outputs; its own weights are trained along."""

    def forward(self, module: nn.Module, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
        """Computes the number to minimize.

        Args:
            module: The module to train.
            inputs: A batch, on the device of the module.
            labels: The labels of that batch.

        Returns:
            A scalar to differentiate.
        """
        raise NotImplementedError


class TaskObjective(Objective):
    """The task's loss.

    Args:
        loss: A function of outputs and labels.
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self._loss = loss

    def forward(self, module: nn.Module, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
        """Computes the loss of the module's outputs."""
        return self._loss(module(*inputs), labels)


class Sum(Objective):
    """A weighted sum of objectives.

    Args:
        terms: The objectives with their weights.
    """

    def __init__(self, *terms: tuple[Objective, float]) -> None:
        super().__init__()
        self._terms = nn.ModuleList(term for term, _ in terms)
        self._weights = [weight for _, weight in terms]

    def forward(self, module: nn.Module, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
        """Computes the weighted sum."""
        values = [term(module, inputs, labels) for term in self._terms]
        return torch.stack([weight * value for weight, value in zip(self._weights, values, strict=True)]).sum()


def task_loss(source: Source) -> Loss:
    """Returns the loss of a source's task, or cross-entropy; both raise an error that names what does not fit."""
    given = source.loss
    if given is None:
        return lambda outputs, labels: _cross_entropy(outputs, labels, source.name)

    def loss(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        value = given(outputs, labels)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            found = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
            raise TrainingError(
                f"{source.name}: loss()",
                expected="one number to differentiate: a tensor with one element",
                actual=found,
                cure="average over the batch, and return the tensor itself",
            )
        return value.reshape(())

    return loss


def _cross_entropy(outputs: Any, labels: torch.Tensor, name: str) -> torch.Tensor:
    """Computes cross-entropy of logits, shape (N, classes), and class numbers, shape (N,) or (N, 1)."""
    logits = single_tensor(outputs)
    whole = not labels.is_floating_point() and labels.numel() == len(labels)
    if logits is None or logits.ndim != 2 or not whole or len(labels) != len(logits):
        outputs_are = "several tensors" if logits is None else f"outputs of shape {tuple(logits.shape)}"
        raise TrainingError(
            f"{name}: the loss",
            expected="loss(outputs, labels) in the task, or logits of shape (N, classes) and N class numbers",
            actual=f"no loss(), {outputs_are}, and labels of shape {tuple(labels.shape)} and {labels.dtype}",
            cure="add loss(outputs, labels) to the task",
        )
    return nn.functional.cross_entropy(logits, labels.reshape(-1).long())


def single_tensor(outputs: Any) -> torch.Tensor | None:
    """Returns the only tensor in a module's outputs, or None if there are several."""
    while not isinstance(outputs, torch.Tensor):
        values = list(outputs.values()) if isinstance(outputs, dict) else outputs
        if not isinstance(values, tuple | list) or len(values) != 1:
            return None
        outputs = values[0]
    return outputs
