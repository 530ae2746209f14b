"""The labels and helpers that the rules of operations work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from edgecomp.compression.pruning.reshapes import Carrier
from edgecomp.compression.pruning.trace import Call
from edgecomp.compression.pruning.units import FIXED, Labels, Units, UnitTable, fixed


@dataclass(frozen=True)
class Product:
    """The multiplications of one operation.

    Attributes:
        owner: Path of the module that runs it.
        repeats: How often the product of the lengths below is computed.
        dimensions: Units along every dimension that the count is proportional to.
    """

    owner: str
    repeats: int
    dimensions: tuple[Units, ...]


@dataclass(frozen=True)
class Split:
    """A removable dimension that user code splits into several.

    Attributes:
        owner: Path of the module whose code splits it.
        dimensions: Labels of the dimension before the split, and of the part that loses positions.
    """

    owner: str
    dimensions: tuple[Units, ...]

    @property
    def units(self) -> set[int]:
        """The units that can be removed from it."""
        return {unit for units in self.dimensions for unit in units[units != FIXED].tolist()}


@dataclass
class Scope:
    """Labels by tensor, and what the rules find.

    Attributes:
        table: The units.
        carrier: Which part of a split dimension loses positions, by the call that splits it.
        products: The multiplications.
        splits: The split dimensions.
    """

    table: UnitTable
    carrier: Callable[[Call], Carrier]
    products: list[Product] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    _labels: dict[int, Labels] = field(default_factory=dict)

    def __getitem__(self, tensor: torch.Tensor) -> Labels:
        """Returns a tensor's labels; an unknown tensor is fixed."""
        found = self._labels.get(id(tensor))
        return tuple(fixed(size) for size in tensor.shape) if found is None else found

    def __setitem__(self, tensor: torch.Tensor, labels: Labels) -> None:
        self._labels[id(tensor)] = labels

    def fix(self, tensor: torch.Tensor, reason: str) -> None:
        """Fixes all positions of a tensor."""
        for units in self[tensor]:
            self.table.fix(units, reason)


#: Returns the labels of a call's outputs; None for an output whose positions are all fixed.
Rule = Callable[[Call, Scope], Sequence[Labels | None]]


def arguments(call: Call) -> Mapping[str, Any]:
    """Returns an ATen operator's arguments by name, with defaults for those that were not given."""
    given = dict(zip((argument.name for argument in call.op._schema.arguments), call.args, strict=False))
    defaults = {argument.name: argument.default_value for argument in call.op._schema.arguments}
    return {**defaults, **given, **call.kwargs}
