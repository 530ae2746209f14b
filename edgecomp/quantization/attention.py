"""Keeps in float what eight bits cannot hold of a Transformer.

Rules, cited by number where they are applied:

1. A Softmax behind a mask is float, and so is the Add or Where that applies it. A mask is 0 or a number like -10000,
   -3.4e38 or minus infinity: one step of a grid that reaches so far is larger than all scores together.
2. What makes a computed mask and serves nothing else is float too.
3. An Add in front of a LayerNormalization is float, as the normalization is: what the residual stream carries is not
   rounded on a grid that a few large channels stretch.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from edgecomp.graph.query import constant, is_constant, shape_of
from edgecomp.quantization import scheme

#: No score that matters lies so low; masks begin here.
_MASKED = -1000.0
#: What normalizes along its last dimensions, and runs in float in every runtime.
NORMALIZATIONS = frozenset({"LayerNormalization", "RMSNormalization"})
_MOVERS = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Cast", "Identity"})


def keep_attention_in_float(graph: ir.Graph) -> int:
    """Marks the nodes of rules 1 to 3 with `scheme.PRECISION_KEY`, in place; returns how many."""
    kept: set[ir.Node] = set()
    masks: set[ir.Value] = set()
    for node in graph:
        if node.op_type == "Softmax" and (applied := _applied_mask(node)) is not None:
            kept.update((node, applied))  # rule 1
            masks.update(value for value in applied.inputs if value is not None and _is_mask(value, applied))
        elif node.op_type == "Add" and _readers(node) & NORMALIZATIONS:
            kept.add(node)  # rule 3
    making: set[ir.Node] = set()
    for node in reversed(graph):
        uses = [use for value in node.outputs for use in value.uses()]
        used = all(use.node in making or (use.node in kept and use.node.inputs[use.idx] in masks) for use in uses)
        if uses and used and not any(value.is_graph_output() for value in node.outputs):
            making.add(node)  # rule 2
    for node in kept | making:
        node.metadata_props[scheme.PRECISION_KEY] = "float32"
    return len(kept | making)


def _readers(node: ir.Node) -> set[str]:
    return {use.node.op_type for use in node.outputs[0].uses()}


def _applied_mask(softmax: ir.Node) -> ir.Node | None:
    """The Add or Where that masks what a Softmax reads, through nodes that only move it."""
    value = softmax.inputs[0]
    while value is not None and (node := value.producer()) is not None:
        if node.op_type == "Add":
            return node if any(_is_mask(each, node) for each in node.inputs if each is not None) else None
        if node.op_type == "Where":
            return node if any(_is_low(each) for each in node.inputs[1:]) else None
        if node.op_type not in _MOVERS:
            return None
        value = node.inputs[0]
    return None


def _is_mask(value: ir.Value, applied: ir.Node) -> bool:
    """A constant that reaches far below zero, or something computed that is the same for many scores."""
    if is_constant(value):
        return _is_low(value)
    return applied.op_type == "Add" and math.prod(shape_of(value)) < math.prod(shape_of(applied.outputs[0]))


def _is_low(value: ir.Value | None) -> bool:
    array = constant(value)
    return array is not None and array.dtype.kind == "f" and array.size > 0 and bool(array.min() < _MASKED)
