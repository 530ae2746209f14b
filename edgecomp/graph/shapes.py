"""Shapes that ONNX's inference does not tell.

It stops at Loops, since what a Loop carries may change its shape from turn to turn. Nearly always it does not: so the
body is looked at with the shapes that the first turn gets, and where it gives the same shapes back they are those of
every turn. And it says nothing of ONNX Runtime's own operators.
"""

from __future__ import annotations

import onnx_ir as ir

from edgecomp.graph.query import turns_of

#: Operators whose first output has the shape and the type of their first input.
_SHAPE_KEEPING = frozenset(
    [
        "BiasGelu",
        "FastGelu",
        "GroupNormalization",
        "QuickGelu",
        "SimplifiedLayerNormalization",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    ]
)


def assume_shapes(model: ir.Model) -> bool:
    """Gives what can be told beforehand, and the parameters of loop bodies the shapes of the first turn.

    Returns:
        Whether that was news, so that inference may go on.
    """
    changed = False
    for node in model.graph.all_nodes():
        source, result = node.inputs[0] if node.inputs else None, node.outputs[0]
        if node.op_type in _SHAPE_KEEPING and source is not None and _is_static(source) and not _is_static(result):
            result.shape, result.type = source.shape, result.type or source.type
            changed = True
        if node.op_type != "Loop":
            continue
        index, _, *parameters = node.attributes["body"].as_graph().inputs
        index.shape = index.shape or ir.Shape(())
        for parameter, value in zip(parameters, node.inputs[2:], strict=True):
            if value is not None and parameter.shape is None and value.shape is not None and value.shape.is_static():
                parameter.shape, parameter.type = value.shape, parameter.type or value.type
                changed = True
    return changed


def conclude_shapes(model: ir.Model) -> None:
    """Gives the outputs of loops the shapes that their bodies keep, and takes an assumption back that was wrong."""
    for node in model.graph.all_nodes():
        if node.op_type != "Loop":
            continue
        body = node.attributes["body"].as_graph()
        parameters, results = body.inputs[2:], body.outputs[1:]
        for parameter, result, output in zip(parameters, results, node.outputs, strict=False):
            if result.shape is None or not result.shape.is_static():
                continue
            if parameter.shape == result.shape:
                output.shape = output.shape if _is_static(output) else result.shape
            else:
                parameter.shape = None
        turns = turns_of(node)
        for result, output in zip(results[len(parameters) :], node.outputs[len(parameters) :], strict=True):
            if turns is not None and result.shape is not None and not _is_static(output):
                output.shape = ir.Shape((turns, *result.shape))


def _is_static(value: ir.Value) -> bool:
    return value.shape is not None and value.shape.is_static()
