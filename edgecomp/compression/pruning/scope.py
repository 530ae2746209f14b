"""What the rules of the operations work with."""

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
    """Multiplications of one operation.

    Attributes:
        owner: Path of the module that does it.
        repeats: How often the product of the lengths below is computed.
        dimensions: Positions along every dimension that the number is proportional to.
    """

    owner: str
    repeats: int
    dimensions: tuple[Units, ...]


@dataclass(frozen=True)
class Split:
    """A dimension of removable positions that user code splits into several.

    Attributes:
        owner: Path of the module whose code does it.
        dimensions: Labels of the dimension before, and of the part that loses positions.
    """

    owner: str
    dimensions: tuple[Units, ...]

    @property
    def units(self) -> set[int]:
        """What can be removed from it."""
        return {unit for units in self.dimensions for unit in units[units != FIXED].tolist()}


@dataclass
class Scope:
    """Labels by tensor, and what the rules find out on the way.

    Attributes:
        table: The units.
        carrier: Which part of a split dimension loses positions, by the call that splits it.
        products: The multiplications.
        splits: Where dimensions are split.
    """

    table: UnitTable
    carrier: Callable[[Call], Carrier]
    products: list[Product] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    _labels: dict[int, Labels] = field(default_factory=dict)

    def __getitem__(self, tensor: torch.Tensor) -> Labels:
        """A tensor's labels; fixed ones for a tensor that nothing is known of."""
        found = self._labels.get(id(tensor))
        return tuple(fixed(size) for size in tensor.shape) if found is None else found

    def __setitem__(self, tensor: torch.Tensor, labels: Labels) -> None:
        self._labels[id(tensor)] = labels

    def fix(self, tensor: torch.Tensor, reason: str) -> None:
        """Lets nothing be removed from a tensor."""
        for units in self[tensor]:
            self.table.fix(units, reason)


#: Gives the labels of a call's outputs; None stands for one whose positions all stay.
Rule = Callable[[Call, Scope], Sequence[Labels | None]]


def arguments(call: Call) -> Mapping[str, Any]:
    """An ATen operator's arguments by name, the defaults of what was not given included."""
    given = dict(zip((argument.name for argument in call.op._schema.arguments), call.args, strict=False))
    defaults = {argument.name: argument.default_value for argument in call.op._schema.arguments}
    return {**defaults, **given, **call.kwargs}
