"""The teachers' outputs for the training data, computed once instead of in every epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import nn

from edgecomp.compression.training.data import TrainingData
from edgecomp.compression.training.objective import Inputs
from edgecomp.frontends import structure
from edgecomp.progress import Progress, silent

Tensor = torch.Tensor

#: The outputs of each teacher, each a list of tensors.
Taught = list[list[Tensor]]

#: Bytes of outputs that are kept for all samples together. A classifier needs a thousandth of it; a segmentation
#: network may need more.
MOST_BYTES = 512 * 2**20


def flat(outputs: object) -> list[Tensor]:
    """Returns the tensors in a module's outputs."""
    return [tensor for _, tensor in structure.flatten(outputs, torch.is_tensor)]


class Teachers:
    """Modules that give targets and are never changed.

    Args:
        modules: Put into eval mode.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = tuple(modules)  # a tuple, so that their weights are neither trained nor saved in checkpoints
        self._rows: dict[bytes, int] = {}
        self._outputs: Taught = []

    def learn(self, data: TrainingData, size: int, progress: Progress = silent) -> None:
        """Runs the teachers on every sample and keeps the outputs, for `__call__` to look up.

        Keeps nothing if outputs cannot be told apart by sample, vary in shape, or need more than `MOST_BYTES`.

        Args:
            data: The training data.
            size: The batch size.
            progress: Called on the way.
        """
        if not data.samples.batched:
            return
        names: list[bytes] = []
        parts: list[Taught] = []
        shapes: list[torch.Size] = []
        for inputs, _ in data.in_order(size):
            progress("teacher", len(names), len(data))
            taught = [[each.cpu() for each in outputs] for outputs in self._run(_on_gpu(inputs))]
            count, found = len(inputs[0]), [each for outputs in taught for each in outputs]
            own = all(each.ndim and len(each) == count for each in found)
            shapes = shapes or [each.shape[1:] for each in found]
            if (
                not own
                or shapes != [each.shape[1:] for each in found]
                or len(data) / count * sum(each.nbytes for each in found) > MOST_BYTES
            ):
                return
            names += _names(inputs)
            parts.append(taught)
        progress("teacher", len(data), len(data))
        self._rows = {name: row for row, name in enumerate(names)}
        self._outputs = [
            [torch.cat([part[teacher][place] for part in parts]) for place in range(len(outputs))]
            for teacher, outputs in enumerate(parts[0])
        ]

    def __call__(self, inputs: Inputs) -> Taught:
        """Returns the teachers' outputs for a batch: looked up, or computed if a sample is new or was changed."""
        if not self._rows:
            return self._run(inputs)
        rows = [self._rows.get(name, -1) for name in _names(inputs)]
        if min(rows) < 0:
            return self._run(inputs)
        return [[each[rows].to(inputs[0].device) for each in outputs] for outputs in self._outputs]

    def _run(self, inputs: Inputs) -> Taught:
        with torch.no_grad():
            return [flat(module.to(inputs[0].device).eval()(*inputs)) for module in self.modules]


def _on_gpu(inputs: Inputs) -> Inputs:
    return tuple(each.cuda() for each in inputs) if torch.cuda.is_available() else inputs


def _names(inputs: Inputs) -> list[bytes]:
    """Returns a hash of every sample's bytes."""
    columns = [each.detach().cpu().contiguous().numpy() for each in inputs]
    return [
        hashlib.blake2b(b"".join(sample.tobytes() for sample in samples), digest_size=16).digest()
        for samples in zip(*columns, strict=True)
    ]
