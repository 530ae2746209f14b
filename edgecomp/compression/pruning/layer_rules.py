"""Rules for operations with weights: convolutions, matrix products, normalizations, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgecomp.compression.pruning.reshapes import couple_parts
from edgecomp.compression.pruning.scope import Product, Rule, Scope, arguments
from edgecomp.compression.pruning.trace import Call
from edgecomp.compression.pruning.units import Labels, Units, fixed


def convolution(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Weights are (out, in / groups, kernel), or (in, out / groups, kernel) for a transposed convolution."""
    given = arguments(call)
    (output,) = call.outputs
    data, weight = scope[given["input"]], scope[given["weight"]]
    groups, transposed = given["groups"], given["transposed"]
    for kernel in weight[2:]:
        scope.table.fix(kernel, "the size of a kernel")
    first, second = weight[:2]
    if groups == 1:
        inner, outer = (first, second) if transposed else (second, first)
    else:
        inner, outer = _grouped(first, second, groups, transposed, scope, call)
    scope.table.join(data[1], inner, call.where)
    if given["bias"] is not None:
        scope.table.join(scope[given["bias"]][0], outer, call.where)
    places = math.prod((given["input"] if transposed else output).shape[2:]) * math.prod(given["weight"].shape[2:])
    scope.products.append(Product(call.owner, output.shape[0] * places, (first, second)))
    return [(data[0], outer, *(fixed(size) for size in output.shape[2:]))]


def _grouped(
    first: Units, second: Units, groups: int, transposed: bool, scope: Scope, call: Call
) -> tuple[Units, Units]:
    """Returns the units of the input and output channels of a grouped convolution.

    1. With one input channel per group, single groups can go, each with its channel and the outputs made of it.
    2. Otherwise the number of groups stays, and a channel that goes from one group goes from all.
    """
    per_group = (len(first) // groups) if transposed else len(second)
    if per_group > 1:
        couple_parts(first, groups, scope.table, call.where)
        spread = np.tile(second, groups)
        return (first, spread) if transposed else (spread, first)
    if transposed:
        scope.table.fix(second, "the multiplier of a depthwise convolution")
        return first, np.repeat(first, len(second))
    channels = first.reshape(groups, -1)
    scope.table.join(channels[:, :1], channels, call.where)
    return channels[:, 0], first


def product(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """`mm`, `addmm`, `bmm` and `baddbmm`: (..., n, k) times (..., k, m), plus a term that broadcasts."""
    *added, left, right = call.tensors
    (*batch, rows, inner), (*other, inner_right, columns) = scope[left], scope[right]
    scope.table.join(inner, inner_right, call.where)
    for one, two in zip(batch, other, strict=True):
        scope.table.join(one, two, call.where)
    result = (*batch, rows, columns)
    for tensor in added:
        _join_broadcast(scope[tensor], result, scope, call)
    scope.products.append(Product(call.owner, 1, (*result, inner)))
    return [result]


def linear(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Weights are (out, in)."""
    given = arguments(call)
    data, weight = scope[given["input"]], scope[given["weight"]]
    scope.table.join(data[-1], weight[1], call.where)
    if given["bias"] is not None:
        scope.table.join(scope[given["bias"]][0], weight[0], call.where)
    scope.products.append(Product(call.owner, math.prod(given["input"].shape[:-1]), weight))
    return [(*data[:-1], weight[0])]


def attention(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Attention of (batch, heads, length, size); the query's size stays if the default scale depends on it."""
    query, key, value = (scope[tensor] for tensor in call.tensors[:3])
    for axis in (0, 1):
        scope.table.join(query[axis], key[axis], call.where)
        scope.table.join(key[axis], value[axis], call.where)
    scope.table.join(query[3], key[3], call.where)
    scope.table.join(key[2], value[2], call.where)
    if arguments(call).get("scale") is None:
        scope.table.fix(query[3], f"the scale is made of it in {call.where}")
    for mask in call.tensors[3:]:
        _join_broadcast(scope[mask], (*query[:3], key[2]), scope, call)
    lengths = (*query[:3], key[2])
    scope.products += [Product(call.owner, 1, (*lengths, query[3])), Product(call.owner, 1, (*lengths, value[3]))]
    return [(*query[:3], value[3]), *([None] * (len(call.outputs) - 1))]


def batch_norm(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """One mean, variance, weight and bias for every channel."""
    data, *stored = (scope[tensor] for tensor in call.tensors)
    for units in stored:
        scope.table.join(data[1], units[0], call.where)
    return [data, *([None] * (len(call.outputs) - 1))]


def layer_norm(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Normalizes over the last dimensions; without a weight, their size is an attribute of the module and stays."""
    given = arguments(call)
    data = scope[given["input"]]
    normalized = data[len(data) - len(given["normalized_shape"]) :]
    if given["weight"] is None:
        for units in normalized:
            scope.table.fix(units, f"normalized without weights by {call.where}")
    for name in ("weight", "bias"):
        if given[name] is not None:
            for one, other in zip(normalized, scope[given[name]], strict=True):
                scope.table.join(one, other, call.where)
    return [data, *([None] * (len(call.outputs) - 1))]


def group_norm(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """Normalizes over the channels of each group; groups of several channels stay, and stay equally large."""
    given = arguments(call)
    data = scope[given["input"]]
    if given["group"] < len(data[1]):
        couple_parts(data[1], given["group"], scope.table, call.where)
    for name in ("weight", "bias"):
        if given[name] is not None:
            scope.table.join(data[1], scope[given[name]][0], call.where)
    return [data, *([None] * (len(call.outputs) - 1))]


def _join_broadcast(labels: Labels, result: Labels, scope: Scope, call: Call) -> None:
    """Joins an added term with the result it broadcasts to, except dimensions of size one."""
    for units, other in zip(reversed(labels), reversed(result), strict=False):
        if len(units) > 1:
            scope.table.join(units, other, call.where)


LAYER_RULES: dict[str, Rule] = {
    "convolution": convolution,
    "mm": product,
    "addmm": product,
    "bmm": product,
    "baddbmm": product,
    "linear": linear,
    "_scaled_dot_product_flash_attention_for_cpu": attention,
    "_scaled_dot_product_attention_math": attention,
    "native_batch_norm": batch_norm,
    "_native_batch_norm_legit_no_training": batch_norm,
    "native_layer_norm": layer_norm,
    "native_group_norm": group_norm,
}
