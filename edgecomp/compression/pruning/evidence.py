"""The evidence that criteria use: weights, gradients on training data, activations on calibration data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgecomp.compression.pruning.coupling import Coupling
from edgecomp.compression.pruning.trace import Recorder, record
from edgecomp.compression.pruning.units import FIXED
from edgecomp.frontends.torch_module import preserving

Floats = npt.NDArray[np.float64]

#: One batch: the module's inputs, and the labels.
Batch = tuple[tuple[torch.Tensor, ...], Any]

#: Activation functions whose outputs can be exactly zero.
_RECTIFIERS = ("relu", "relu_", "hardtanh", "hardtanh_", "hardswish", "hardswish_", "threshold", "threshold_")

#: Number of runs in which zeros are counted; counting intercepts every operation, which is slow.
_RECORDED = 64


@dataclass(frozen=True)
class Evidence:
    """A module, and what is known about its channels.

    Attributes:
        module: The module.
        coupling: Its coupled units.
        batches: Opens labelled batches, for criteria that need gradients.
        loss: A function of outputs and labels, for the same criteria.
        samples: Opens calibration inputs, for criteria that need activations.
        seed: The random seed.
    """

    module: torch.nn.Module
    coupling: Coupling
    batches: Callable[[], Iterable[Batch]] = field(default=lambda: ())
    loss: Callable[[Any, Any], torch.Tensor] | None = None
    samples: Callable[[], Iterable[tuple[torch.Tensor, ...]]] = field(default=lambda: ())
    seed: int = 0

    def per_unit(self, values: Mapping[str, Floats], axes: Callable[[str], Sequence[int]] | None = None) -> Floats:
        """Sums elementwise values of stored tensors over everything that belongs to a unit.

        Args:
            values: Arrays by the tensor's path.
            axes: Which dimensions of a tensor count; by default all.

        Returns:
            One number for every unit.
        """
        total = np.zeros(self.coupling.units)
        for path, array in values.items():
            for axis in range(array.ndim) if axes is None else axes(path):
                units = self.coupling.labels[path][axis]
                others = tuple(other for other in range(array.ndim) if other != axis)
                total += np.bincount(units, array.sum(axis=others), len(total))
        total[FIXED] = 0.0
        return total

    @cached_property
    def weights(self) -> dict[str, Floats]:
        """Parameters with two or more dimensions."""
        return {
            path: tensor.detach().double().cpu().numpy()
            for path, tensor in self.module.named_parameters()
            if tensor.dim() > 1 and path in self.coupling.labels
        }

    def input_axis(self, path: str) -> int:
        """Returns the input channel dimension of a weight: 1, or 0 for transposed convolutions."""
        owner = self.module.get_submodule(path.rpartition(".")[0])
        return 0 if isinstance(owner, torch.nn.modules.conv._ConvTransposeNd) else 1

    @cached_property
    def gates(self) -> Floats:
        """The derivative of the loss by a factor on each unit, (batches, units).

        A factor on a channel multiplies the weights that read the channel, so its derivative is the sum of gradient x
        weight over these weights.
        """
        rows = []
        for gradients in self._gradients():
            products = {path: self.weights[path] * gradient for path, gradient in gradients.items()}
            rows.append(self.per_unit(products, lambda path: (self.input_axis(path),)))
        return np.array(rows)

    @cached_property
    def curvature(self) -> dict[str, Floats]:
        """The diagonal of the loss's Hessian by weight: the mean of v * (H v) over random signs v (Hutchinson)."""
        generator = torch.Generator().manual_seed(self.seed)
        total = {path: np.zeros(weight.shape) for path, weight in self.weights.items()}
        count = 0
        for loss in self._losses():
            chosen = self._parameters()
            gradients = torch.autograd.grad(loss, list(chosen.values()), create_graph=True)
            signs = [torch.randint(0, 2, g.shape, generator=generator).to(g) * 2 - 1 for g in gradients]
            products = torch.autograd.grad(gradients, list(chosen.values()), signs)
            for path, sign, product in zip(chosen, signs, products, strict=True):
                total[path] += (sign * product).double().cpu().numpy()
            count += 1
        return {path: array / count for path, array in total.items()}

    @cached_property
    def activity(self) -> Floats:
        """The share of a unit's activations that are not zero; 1 for units without a rectifier."""
        counted, places = np.zeros(self.coupling.units), np.zeros(self.coupling.units)
        for inputs in islice(self.samples(), _RECORDED):
            record(self.module, inputs, _Activity(self.coupling, counted, places))
        return np.divide(counted, places, out=np.ones_like(counted), where=places > 0)

    def _parameters(self) -> dict[str, torch.Tensor]:
        parameters = self.module.named_parameters()
        return {path: tensor for path, tensor in parameters if path in self.weights and tensor.requires_grad}

    def _losses(self) -> Iterable[torch.Tensor]:
        assert self.loss is not None, "who asks for gradients gives a loss"
        for inputs, labels in self.batches():
            with preserving(self.module), torch.enable_grad():
                yield self.loss(self.module(*inputs), labels)

    def _gradients(self) -> Iterable[dict[str, Floats]]:
        for loss in self._losses():
            chosen = self._parameters()
            gradients = torch.autograd.grad(loss, list(chosen.values()), allow_unused=True)
            yield {
                path: gradient.double().cpu().numpy()
                for path, gradient in zip(chosen, gradients, strict=True)
                if gradient is not None
            }


class _Activity(Recorder):  # type: ignore[no-untyped-call]  # torch has no types for it
    """Counts nonzero outputs of every rectifier, by unit, without keeping tensors."""

    def __init__(self, coupling: Coupling, counted: Floats, places: Floats) -> None:
        super().__init__()
        self._coupling, self._counted, self._places = coupling, counted, places
        self._index = 0

    def record(self, op: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Counts one operation."""
        labels = self._coupling.shapes[self._index]
        self._index += 1
        if str(op).removeprefix("aten.").rpartition(".")[0] not in _RECTIFIERS:
            return
        for axis, units in enumerate(labels[0]):
            if (units != FIXED).any():
                others = [other for other in range(result.dim()) if other != axis]
                alive = (result != 0).sum(others).double().cpu().numpy()
                self._counted += np.bincount(units, alive, len(self._counted))
                self._places += np.bincount(units, minlength=len(self._places)) * (result.numel() / len(units))
