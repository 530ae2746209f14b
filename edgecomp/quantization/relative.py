"""What has to stay in float because it is about ratios: eight bits know differences only.

A logarithm, a root, a reciprocal and a denominator magnify whatever is near zero. An integer there is one of 256 evenly
spaced numbers; the small ones among them, zero included, stand for ranges that these functions tear apart. So a value
that goes into nothing else keeps its float, and so does what it was computed from in ways that carry ratios on:
products, sums, moves, filters. That is the spectrogram in front of an audio network, the variance in a norm, the sum
under a softmax, and never the body of a network, whose activation functions end the way back.
"""

from __future__ import annotations

import onnx_ir as ir

from edgecomp.quantization.scheme import PRECISION_KEY

#: Operator -> the input that it magnifies.
_MAGNIFIES = {"Div": 1, "Log": 0, "Reciprocal": 0, "Sqrt": 0}

#: Operators whose result is as exact, relatively, as what goes in.
_CARRIES = frozenset(
    [
        "Abs",
        "Add",
        "Clip",
        "Concat",
        "Conv",
        "Expand",
        "Flatten",
        "Gather",
        "Gemm",
        "Identity",
        "MatMul",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Pad",
        "Pow",
        "ReduceL2",
        "ReduceMean",
        "ReduceSum",
        "ReduceSumSquare",
        "Reshape",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)


def keep_ratios(graph: ir.Graph) -> int:
    """Marks the nodes that have to stay in float, in place; returns how many there are."""
    kept: set[ir.Node] = set()
    for node in reversed(graph):
        if node.op_type not in _CARRIES or any(value.is_graph_output() for value in node.outputs):
            continue
        uses = [use for value in node.outputs for use in value.uses()]
        if uses and all(use.node in kept or _MAGNIFIES.get(use.node.op_type) == use.idx for use in uses):
            kept.add(node)
            node.metadata_props[PRECISION_KEY] = "float32"
    return len(kept)
