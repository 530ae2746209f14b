"""Shapes through Loops, which ONNX's shape inference stops at: what a Loop carries may change from turn to turn.

Nearly always it does not. So the body is looked at with the shapes that the first turn gets, and where it gives the
same shapes back they are those of every turn.
"""

from __future__ import annotations

import onnx_ir as ir

from edgecomp.graph.query import turns_of


def assume_constant_shapes(model: ir.Model) -> bool:
    """Gives the parameters of loop bodies the shapes of the first turn, in place; returns whether one was new."""
    changed = False
    for node in model.graph.all_nodes():
        if node.op_type != "Loop":
            continue
        index, _, *parameters = node.attributes["body"].as_graph().inputs
        index.shape = index.shape or ir.Shape(())
        for parameter, value in zip(parameters, node.inputs[2:], strict=True):
            if value is not None and parameter.shape is None and value.shape is not None and value.shape.is_static():
                parameter.shape, parameter.type = value.shape, parameter.type or value.type
                changed = True
    return changed


def conclude(model: ir.Model) -> None:
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
