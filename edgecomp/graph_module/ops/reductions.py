"""Reductions, and operators along one dimension."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import torch

from edgecomp.graph.query import normalized_axes, shape_of
from edgecomp.graph_module.ops.node import Build, Function

Tensor = torch.Tensor
Axes = tuple[int, ...]


def _reduction(function: Callable[[Tensor, Axes, bool], Tensor]) -> Build:
    """Builds a reduction over axes, which are an attribute or an input."""

    def build(node: ir.Node) -> Function:
        assert node.inputs[0] is not None
        axes = normalized_axes(node, len(shape_of(node.inputs[0])))
        keep = bool(node.attributes.get_int("keepdims", 1))
        # The second input contains the axes, which are known already.
        return lambda inputs, given=None: function(inputs, axes, keep) if axes else inputs

    return build


def _product(inputs: Tensor, axes: Axes, keep: bool) -> Tensor:
    for axis in reversed(axes):
        inputs = inputs.prod(axis, keepdim=keep)
    return inputs


def _extreme_place(function: Callable[[Tensor, int, bool], Tensor]) -> Build:
    """Builds ArgMax or ArgMin; of equal values, the first one counts."""

    def build(node: ir.Node) -> Function:
        axis, keep = node.attributes.get_int("axis", 0) or 0, bool(node.attributes.get_int("keepdims", 1))
        if node.attributes.get_int("select_last_index", 0):
            return lambda inputs: inputs.shape[axis] - 1 - function(inputs.flip(axis), axis, keep)
        return lambda inputs: function(inputs, axis, keep)

    return build


def _cumulative_sum(node: ir.Node) -> Function:
    exclusive, backwards = (bool(node.attributes.get_int(name, 0)) for name in ("exclusive", "reverse"))

    def run(inputs: Tensor, axis: Tensor) -> Tensor:
        along = int(axis)
        source = inputs.flip(along) if backwards else inputs
        result = source.cumsum(along)
        result = result - source if exclusive else result
        return result.flip(along) if backwards else result

    return run


REDUCTIONS: dict[str, Build] = {
    "ArgMax": _extreme_place(torch.argmax),
    "ArgMin": _extreme_place(torch.argmin),
    "CumSum": _cumulative_sum,
    "ReduceL1": _reduction(lambda inputs, axes, keep: inputs.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduction(lambda inputs, axes, keep: torch.linalg.vector_norm(inputs, 2, axes, keep)),
    "ReduceLogSum": _reduction(lambda inputs, axes, keep: inputs.sum(axes, keepdim=keep).log()),
    "ReduceLogSumExp": _reduction(lambda inputs, axes, keep: inputs.logsumexp(axes, keepdim=keep)),
    "ReduceMax": _reduction(lambda inputs, axes, keep: inputs.amax(axes, keepdim=keep)),
    "ReduceMean": _reduction(lambda inputs, axes, keep: inputs.mean(axes, keepdim=keep)),
    "ReduceMin": _reduction(lambda inputs, axes, keep: inputs.amin(axes, keepdim=keep)),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(lambda inputs, axes, keep: inputs.sum(axes, keepdim=keep)),
    "ReduceSumSquare": _reduction(lambda inputs, axes, keep: inputs.square().sum(axes, keepdim=keep)),
}
