"""Outputs that lie between 0 and 1 by their operator: probabilities, gates, masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

#: What float32 kernels of the same sigmoid differ by: they approximate it to the last bits of 1, also where it is 1e-5.
ROUNDING = 4 * float(np.finfo(np.float32).eps)

_SHARES = frozenset({"HardSigmoid", "Sigmoid", "Softmax"})
#: What gives numbers that it was given.
_MOVERS = frozenset({"Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
#: What gives numbers of several inputs, and the first of them.
_CHOOSERS = {"Concat": 0, "Max": 0, "Min": 0, "Where": 1}


def share_outputs(graph: ir.Graph) -> frozenset[str]:
    """The names of the outputs that are certain to lie between 0 and 1."""
    return frozenset(value.name or "" for value in graph.outputs if _is_share(value))


def _is_share(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    if node is None:
        return False
    if node.op_type in _MOVERS:
        return _is_share(node.inputs[0])
    if node.op_type in _CHOOSERS:
        return all(map(_is_share, node.inputs[_CHOOSERS[node.op_type] :]))
    if node.op_type == "If":
        place = node.outputs.index(value)
        branches = (attribute.as_graph() for attribute in node.attributes.values())
        return all(_is_share(branch.outputs[place]) for branch in branches)
    return node.op_type in _SHARES
