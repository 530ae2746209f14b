"""What is only joined for whoever reads the outputs is joined in float.

A Concat in integers has one scale for all of its inputs, that of the widest. Detectors join boxes in pixels with their
scores, and one step of a grid that holds 640 pixels is larger than every score. Where nothing computes with the result,
one scale buys nothing: each input keeps its own, and is dequantized by it.
"""

from __future__ import annotations

import onnx_ir as ir

from edgecomp.quantization import scheme

_MOVERS = frozenset({"Concat", "Flatten", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})


def keep_joins_in_float(graph: ir.Graph) -> int:
    """Marks every Concat that leads to outputs through moves only, in place; returns how many there are.

    Inputs that have the same parameters by rule 4 of the scheme, such as several softmaxes, are joined as they are.
    """
    free: set[ir.Node] = set()
    kept = 0
    for node in reversed(graph):
        if node.op_type not in _MOVERS:
            continue
        uses = [use for value in node.outputs for use in value.uses()]
        if not all(use.node in free for use in uses):
            continue
        free.add(node)
        if node.op_type == "Concat" and scheme.is_quantizable(node) and not _are_alike(node):
            node.metadata_props[scheme.PRECISION_KEY] = "float32"
            kept += 1
    return kept


def _are_alike(join: ir.Node) -> bool:
    """Whether all inputs have the same parameters, which rule 4 fixes."""
    found = [_fixed(value) for value in join.inputs]
    return found[0] is not None and all(each == found[0] for each in found)


def _fixed(value: ir.Value | None) -> tuple[float, int] | None:
    """The fixed parameters of what a value was moved from."""
    while value is not None and (node := value.producer()) is not None:
        if node.op_type not in _MOVERS - {"Concat"}:
            rule = scheme.OPERATORS.get(node.op_type)
            return None if rule is None else rule.fixed
        value = node.inputs[0]
    return None
