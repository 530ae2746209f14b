"""Rules that follow positions through every tensor operation.

A rule joins the units that an operation pairs, fixes those that have to stay, and returns the labels of its outputs.
Operations without a rule fix everything that they touch, so that nothing is removed that is not understood.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from edgecomp.compression.pruning.layer_rules import LAYER_RULES
from edgecomp.compression.pruning.recurrent_rules import recurrent, recurrent_cell
from edgecomp.compression.pruning.reshapes import couple_parts, reshape
from edgecomp.compression.pruning.scope import Rule, Scope, Split, arguments
from edgecomp.compression.pruning.trace import Call
from edgecomp.compression.pruning.units import FIXED, Labels, Units, fixed


def rule_of(call: Call) -> Rule:
    """Returns the rule of an operation."""
    if isinstance(call.op, torch.nn.RNNBase):
        return recurrent
    if isinstance(call.op, torch.nn.RNNCellBase):
        return recurrent_cell
    rule = RULES.get(str(call.op).removeprefix("aten.").rpartition(".")[0])
    if rule is not None:
        return rule
    return pointwise if torch.Tag.pointwise in call.op.tags else unknown


def unknown(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Fixes everything that an unknown operation touches."""
    for tensor in call.tensors:
        scope.fix(tensor, f"no rule for {call.where}")
    return [None] * len(call.outputs)


def pointwise(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Joins element by element, with broadcasting."""
    (output,) = call.outputs
    operands = [scope[tensor] for tensor in call.tensors]
    labels = []
    for axis in range(-output.dim(), 0):
        paired = [each[axis] for each in operands if len(each) >= -axis and len(each[axis]) > 1]
        for first, second in pairwise(paired):
            scope.table.join(first, second, call.where)
        labels.append(paired[0] if paired else fixed(output.shape[axis]))
    return [tuple(labels)]


def spatial(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Keeps channels apart: pooling and resizing of (batch, channels, ...)."""
    labels = scope[call.tensors[0]]
    kept = 2 if len(labels) > 2 else 1
    return [(*labels[:kept], *(fixed(size) for size in output.shape[kept:])) for output in call.outputs]


def reduction(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """A sum, mean or maximum along some dimensions."""
    given = arguments(call)
    labels = scope[call.tensors[0]]
    dims = given.get("dim")
    wanted = range(len(labels)) if dims in (None, []) else [dims] if isinstance(dims, int) else dims
    reduced = {dim % len(labels) for dim in wanted}
    if given.get("keepdim"):
        result = tuple(fixed(1) if axis in reduced else units for axis, units in enumerate(labels))
    else:
        result = tuple(units for axis, units in enumerate(labels) if axis not in reduced)
    return [result] * len(call.outputs)


def normalized_exponential(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Softmax: fixes the dimension that it normalizes."""
    given = arguments(call)
    labels = list(scope[given["self"]])
    scope.table.fix(labels[given["dim"]], f"normalized by {call.where}")
    labels[given["dim"]] = fixed(len(labels[given["dim"]]))
    return [tuple(labels)]


def reshaping(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Regroups dimensions into others with as many elements."""
    before = scope[call.tensors[0]]
    (output,) = call.outputs
    after = reshape(before, output.shape, scope.table, scope.carrier(call), f"reshaped by {call.where}")
    changed = [units for units in (*before, *after) if (units != FIXED).any()]
    if len({len(units) for units in changed}) > 1:
        scope.splits.append(Split(call.owner, tuple(changed)))
    return [after]


def permutation(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Reorders dimensions."""
    labels = scope[call.tensors[0]]
    return [tuple(labels[dim] for dim in arguments(call)["dims"])]


def transposition(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Swaps two dimensions."""
    labels = list(scope[call.tensors[0]])
    given = arguments(call)
    first, second = given.get("dim0", 0), given.get("dim1", -1)
    if labels:
        labels[first], labels[second] = labels[second], labels[first]
    return [tuple(labels)]


def insertion(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Adds a dimension of size one."""
    labels = list(scope[call.tensors[0]])
    labels.insert(arguments(call)["dim"] % (len(labels) + 1), fixed(1))
    return [tuple(labels)]


def expansion(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Repeats dimensions of size one."""
    (output,) = call.outputs
    labels = scope[call.tensors[0]]
    padded = [fixed(1)] * (output.dim() - len(labels)) + list(labels)
    return [
        tuple(units if len(units) == size else fixed(size) for units, size in zip(padded, output.shape, strict=True))
    ]


def tiling(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Repeats whole tensors side by side."""
    labels = scope[call.tensors[0]]
    repeats = arguments(call)["repeats"]
    padded = [fixed(1)] * (len(repeats) - len(labels)) + list(labels)
    return [tuple(np.tile(units, count) for units, count in zip(padded, repeats, strict=True))]


def concatenation(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Concatenates along one dimension, and joins the others."""
    given = arguments(call)
    parts = [scope[tensor] for tensor in given["tensors"] if tensor.numel()]
    joined = given["dim"] % len(parts[0])
    labels = []
    for axis in range(len(parts[0])):
        units = [part[axis] for part in parts]
        if axis == joined:
            labels.append(np.concatenate(units))
            continue
        for first, second in pairwise(units):
            scope.table.join(first, second, call.where)
        labels.append(units[0])
    return [tuple(labels)]


def stacking(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Joins all dimensions, and adds a new one."""
    given = arguments(call)
    parts = [scope[tensor] for tensor in given["tensors"]]
    for first, second in pairwise(parts):
        for one, other in zip(first, second, strict=True):
            scope.table.join(one, other, call.where)
    labels = list(parts[0])
    labels.insert(given["dim"] % (len(labels) + 1), fixed(len(parts)))
    return [tuple(labels)]


def division(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Cuts a dimension into pieces; equal pieces stay equal, because code asks for a number of them."""
    given = arguments(call)
    labels = scope[given["self"]]
    axis = given["dim"] % len(labels)
    sizes = [output.shape[axis] for output in call.outputs]
    units = labels[axis]
    if len(set(sizes)) == 1:
        couple_parts(units, len(sizes), scope.table, call.where)
    else:
        scope.table.fix(units, f"cut into unequal pieces by {call.where}")
    pieces = np.split(units, np.cumsum(sizes)[:-1])
    return [tuple(piece if other == axis else each for other, each in enumerate(labels)) for piece in pieces]


def unbinding(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Returns one tensor for every position along a dimension, which is fixed."""
    given = arguments(call)
    labels = scope[given["self"]]
    axis = given["dim"] % len(labels)
    scope.table.fix(labels[axis], f"taken apart by {call.where}")
    return [(*labels[:axis], *labels[axis + 1 :])] * len(call.outputs)


def selection(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Returns one position along a dimension, which is fixed."""
    return unbinding(call, scope)[:1]


def slicing(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Takes positions along a dimension: one of several equal parts; otherwise all positions are fixed."""
    given = arguments(call)
    labels = list(scope[given["self"]])
    axis = given["dim"] % len(labels)
    units = labels[axis]
    start, end, _ = slice(given["start"], given["end"]).indices(len(units))
    labels[axis] = units[start : end : given["step"]]
    taken = len(labels[axis])
    if taken == len(units):
        return [tuple(labels)]
    if taken and given["step"] == 1 and len(units) % taken == 0 and start % taken == 0:
        couple_parts(units, len(units) // taken, scope.table, call.where)
    else:
        scope.table.fix(units, f"cut by {call.where}")
    return [tuple(labels)]


def padding(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Adds positions at the ends of dimensions; padded dimensions are fixed."""
    (output,) = call.outputs
    return [
        tuple(
            units if len(units) == size else _pinned(units, size, scope, call)
            for units, size in zip(scope[call.tensors[0]], output.shape, strict=True)
        )
    ]


def lookup(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Looks up rows of a table by index; all rows are fixed."""
    given = arguments(call)
    rows, columns = scope[given["weight"]]
    scope.table.fix(rows, f"looked up by {call.where}")
    return [(*scope[given["indices"]], columns)]


def halves(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """A gated linear unit: one half times the sigmoid of the other."""
    given = arguments(call)
    labels = list(scope[given["self"]])
    axis = given["dim"] % len(labels)
    couple_parts(labels[axis], 2, scope.table, call.where)
    first, second = np.split(labels[axis], 2)
    scope.table.join(first, second, call.where)
    labels[axis] = first
    return [tuple(labels)]


def shuffled_channels(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Interleaves the channels of several groups."""
    given = arguments(call)
    labels = scope[given["self"]]
    couple_parts(labels[1], given["groups"], scope.table, call.where)
    return [(labels[0], labels[1].reshape(given["groups"], -1).T.ravel(), *labels[2:])]


def shuffled_pixels(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Turns channels into pixels; the channels that make up one new channel are joined."""
    (output,) = call.outputs
    labels = scope[call.tensors[0]]
    rows = labels[1].reshape(output.shape[1], -1)
    scope.table.join(rows[:, :1], rows, call.where)
    return [(labels[0], rows[:, 0], *(fixed(size) for size in output.shape[2:]))]


def unchanged(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Keeps the labels of the first input, position by position."""
    return [scope[call.tensors[0]]]


def written(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Copies values into a tensor in place."""
    target, source = (scope[tensor] for tensor in call.tensors[:2])
    for axis in range(1, len(source) + 1):
        if len(source[-axis]) > 1:
            scope.table.join(target[-axis], source[-axis], call.where)
    return [target]


def made(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Creates a tensor whose sizes the code asks for; a `*_like` tensor has the dimensions of its model."""
    if call.tensors and call.tensors[0].shape == call.outputs[0].shape:
        return [scope[call.tensors[0]]]
    return [None] * len(call.outputs)


def _pinned(units: Units, size: int, scope: Scope, call: Call) -> Units:
    scope.table.fix(units, f"padded by {call.where}")
    return fixed(size)


#: By the operator's name without "aten." and overload. Elementwise operators need no entry, because PyTorch tags them.
RULES: dict[str, Rule] = {
    **LAYER_RULES,
    **dict.fromkeys(
        ("view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "flatten", "unflatten"), reshaping
    ),
    **dict.fromkeys(("clone", "detach", "alias", "_to_copy", "lift_fresh", "cumsum", "native_dropout"), unchanged),
    **dict.fromkeys(("hardswish", "hardswish_", "_prelu_kernel", "masked_fill", "masked_fill_"), pointwise),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std", "linalg_vector_norm"), reduction),
    **dict.fromkeys(("_softmax", "_log_softmax"), normalized_exponential),
    **dict.fromkeys(
        (
            "max_pool2d_with_indices",
            "max_pool3d_with_indices",
            "avg_pool2d",
            "avg_pool3d",
            "_adaptive_avg_pool2d",
            "_adaptive_avg_pool3d",
            "adaptive_max_pool2d",
            "upsample_nearest1d",
            "upsample_nearest2d",
            "upsample_bilinear2d",
            "upsample_bicubic2d",
            "_upsample_nearest_exact2d",
            "reflection_pad1d",
            "reflection_pad2d",
            "replication_pad1d",
            "replication_pad2d",
        ),
        spatial,
    ),
    **dict.fromkeys(("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"), made),
    **dict.fromkeys(("arange", "zeros", "ones", "full", "empty", "scalar_tensor", "new_zeros", "new_full"), made),
    "permute": permutation,
    "transpose": transposition,
    "t": transposition,
    "unsqueeze": insertion,
    "expand": expansion,
    "repeat": tiling,
    "cat": concatenation,
    "stack": stacking,
    "split": division,
    "split_with_sizes": division,
    "unbind": unbinding,
    "select": selection,
    "slice": slicing,
    "constant_pad_nd": padding,
    "embedding": lookup,
    "glu": halves,
    "channel_shuffle": shuffled_channels,
    "pixel_shuffle": shuffled_pixels,
    "copy_": written,
}
