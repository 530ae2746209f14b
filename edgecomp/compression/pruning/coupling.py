"""Finds which channels of a module can be removed together, and why others have to stay.

The idea of a dependency graph comes from Fang et al., "DepGraph: Towards Any Structural Pruning" (CVPR 2023). Here it
is built for single positions, operation by operation, from a recorded run. Shuffles, concatenations, splits and
reshapes therefore need no special treatment, and anything that is not understood stays as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from edgecomp.compression.pruning.reshapes import Carrier
from edgecomp.compression.pruning.rules import rule_of
from edgecomp.compression.pruning.scope import Product, Scope, Split
from edgecomp.compression.pruning.trace import Call, Trace
from edgecomp.compression.pruning.units import FIXED, Labels, Units, UnitTable
from edgecomp.compression.training.masks import weight_of

#: Whether each unit is removed.
Removed = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Member:
    """A dimension of a stored tensor that a group removes positions from.

    Attributes:
        tensor: Path of the parameter or buffer; for a shared one, its first path.
        axis: The dimension.
        is_vector: Whether the tensor has no other dimension.
    """

    tensor: str
    axis: int
    is_vector: bool = False


@dataclass(frozen=True, eq=False)
class Group:
    """Units that can be removed independently, all from the same dimensions.

    Attributes:
        units: The units.
        members: The dimensions, in the order of the module's parameters.
        width: Number of positions of one unit along the first member.
    """

    units: Units
    members: tuple[Member, ...]
    width: int

    @property
    def name(self) -> str:
        """Path of the first module that produces the group's channels: its name in settings and reports."""
        makers = [member for member in self.members if member.axis == 0 and not member.is_vector] or self.members
        return makers[0].tensor.rpartition(".")[0]


@dataclass(frozen=True)
class Coupling:
    """The units of a module, and the groups in which they can be removed.

    Attributes:
        stored: Parameters and buffers by path; a shared one appears once.
        labels: Their labels, under the same paths.
        groups: The removable groups, in the order of the module's parameters.
        products: The multiplications of one run.
        splits: Dimensions that the module's code splits into several.
        fixed: Path of a weight -> why its output channels stay.
        trace: The recorded run.
        shapes: Labels of the outputs of every call.
    """

    stored: Mapping[str, torch.Tensor]
    labels: Mapping[str, Labels]
    groups: tuple[Group, ...]
    products: tuple[Product, ...]
    splits: tuple[Split, ...]
    fixed: Mapping[str, str]
    trace: Trace
    shapes: tuple[tuple[Labels, ...], ...]

    @cached_property
    def units(self) -> int:
        """The number of units, which is the length of `Removed`."""
        return 1 + max((int(units.max(initial=0)) for labels in self.labels.values() for units in labels), default=0)

    def nothing(self) -> Removed:
        """Returns a mask that removes nothing."""
        return np.zeros(self.units, np.bool_)


def couple(
    module: torch.nn.Module,
    trace: Trace,
    carrier: Callable[[Call], Carrier],
    pinned: Callable[[Member], str | None] = lambda member: None,
) -> Coupling:
    """Finds the units of a module that have to be removed together.

    Args:
        module: Left as it is.
        trace: One run of it.
        carrier: Which part of a split dimension loses positions (see `reshapes`).
        pinned: Returns why a dimension of a stored tensor has to stay, or None.
    """
    stored = stored_tensors(module)
    scope = Scope(UnitTable(), carrier)
    for path, tensor in stored.items():
        scope[tensor] = scope.table.fresh(tensor.shape)
        for axis, units in enumerate(scope[tensor]):
            reason = pinned(Member(path, axis))
            if reason is not None:
                scope.table.fix(units, reason)
    masks = {path: weight for path in stored if (weight := weight_of(path)) is not None}
    for path, weight in masks.items():
        scope[stored[path]] = scope[stored[weight]]
    shapes = [_apply(call, scope) for call in trace.calls]
    for tensor in trace.outputs:
        scope.fix(tensor, "an output of the model")
    used = {id(tensor) for call in trace.calls for tensor in _touched(call)}
    for path, tensor in stored.items():
        if id(tensor) not in used and path not in masks:
            scope.fix(tensor, "it takes no part in forward")
    return _resolved(stored, scope, trace, shapes)


def stored_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Returns parameters and buffers with more than one element by path; shared ones appear once."""
    return {
        path: tensor for path, tensor in (*module.named_parameters(), *module.named_buffers()) if tensor.numel() > 1
    }


def _touched(call: Call) -> list[torch.Tensor]:
    parameters = call.op.parameters() if isinstance(call.op, torch.nn.Module) else ()
    return [*call.tensors, *parameters]


def _apply(call: Call, scope: Scope) -> tuple[Labels, ...]:
    results = rule_of(call)(call, scope)
    for tensor, labels in zip(call.outputs, results, strict=True):
        if labels is not None:
            assert tuple(map(len, labels)) == tuple(tensor.shape), f"the rule of {call.where} gives another shape"
            scope[tensor] = labels
    return tuple(scope[tensor] for tensor in call.outputs)


def _resolved(
    stored: Mapping[str, torch.Tensor], scope: Scope, trace: Trace, shapes: Sequence[tuple[Labels, ...]]
) -> Coupling:
    root, reasons = scope.table.resolve()

    def settle(labels: Labels) -> Labels:
        return tuple(root[units] for units in labels)

    raw = {path: scope[tensor] for path, tensor in stored.items()}
    labels = {path: settle(each) for path, each in raw.items()}
    fixed = {
        path: reasons[int(units[0][0])]
        for path, units in raw.items()
        if isinstance(stored[path], torch.nn.Parameter)
        and len(units) > 1
        and len(units[0]) > 1
        and (labels[path][0] == FIXED).all()
    }
    return Coupling(
        stored,
        labels,
        _groups(labels),
        tuple(Product(each.owner, each.repeats, settle(each.dimensions)) for each in scope.products),
        tuple(Split(each.owner, settle(each.dimensions)) for each in scope.splits),
        fixed,
        trace,
        tuple(tuple(settle(each) for each in outputs) for outputs in shapes),
    )


def _groups(labels: Mapping[str, Labels]) -> tuple[Group, ...]:
    """Groups units that occur in exactly the same dimensions."""
    found: dict[int, list[Member]] = defaultdict(list)
    for path, dimensions in labels.items():
        for axis, units in enumerate(dimensions):
            for unit in np.unique(units[units != FIXED]).tolist():
                found[unit].append(Member(path, axis, len(dimensions) == 1))
    groups: dict[tuple[Member, ...], list[int]] = defaultdict(list)
    for unit, members in found.items():
        groups[tuple(members)].append(unit)
    return tuple(
        Group(np.array(units), members, int((labels[members[0].tensor][members[0].axis] == units[0]).sum()))
        for members, units in groups.items()
    )
