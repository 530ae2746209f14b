"""Shapes that ONNX's inference does not tell.

It stops at Loops, since what a Loop carries may change its shape from turn to turn. Nearly always it does not: so the
body is looked at with the shapes that the first turn gets, and where it gives the same shapes back they are those of
every turn. And it says nothing of ONNX Runtime's own operators.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.graph.query import constant, input_of, shape_of, turns_of

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


def correct_defaults(model: ir.Model) -> None:
    """Writes out `onesided` of STFT: ONNX's inference takes 0 when it is missing, its specification says 1.

    The shapes behind it are forgotten.
    """
    pending: list[ir.Value] = []
    for node in model.graph.all_nodes():
        if node.op_type == "STFT" and "onesided" not in node.attributes:
            node.attributes["onesided"] = ir.AttrInt64("onesided", 1)
            pending.extend(node.outputs)
    seen = set(pending)
    while pending:
        value = pending.pop()
        if not value.is_graph_output():
            value.shape = None
        for reader, _ in value.uses():
            pending.extend(output for output in reader.outputs if output not in seen)
            seen.update(reader.outputs)


def assume_shapes(model: ir.Model) -> bool:
    """Gives what can be told beforehand, and the parameters of loop bodies the shapes of the first turn.

    Returns:
        Whether that was news, so that inference may go on.
    """
    changed = False
    for node in model.graph.all_nodes():
        told = _told(node)
        if told is not None and not _is_static(node.outputs[0]):
            source, result = node.inputs[0], node.outputs[0]
            assert source is not None
            result.shape, result.type = told, result.type or source.type
            changed = True
        if node.op_type != "Loop" or node.domain not in {"", "ai.onnx"}:
            continue
        index, _, *parameters = node.attributes["body"].as_graph().inputs
        index.shape = index.shape or ir.Shape(())
        for parameter, value in zip(parameters, node.inputs[2:], strict=True):
            if value is not None and not _is_static(parameter) and _is_static(value):
                parameter.shape, parameter.type = value.shape, parameter.type or value.type
                changed = True
    return changed


def conclude_shapes(model: ir.Model) -> bool:
    """Gives the outputs of loops the shapes that their bodies keep, and takes an assumption back that was wrong.

    Returns:
        Whether the shape of an output was news, so that inference may go on.
    """
    changed = False
    for node in model.graph.all_nodes():
        if node.op_type != "Loop" or node.domain not in {"", "ai.onnx"}:
            continue
        body = node.attributes["body"].as_graph()
        parameters, results = body.inputs[2:], body.outputs[1:]
        for parameter, result, output in zip(parameters, results, node.outputs, strict=False):
            if result.shape is None or not result.shape.is_static():
                continue
            if parameter.shape != result.shape:
                parameter.shape = None
            elif not _is_static(output):
                output.shape, changed = result.shape, True
        turns = turns_of(node)
        for result, output in zip(results[len(parameters) :], node.outputs[len(parameters) :], strict=True):
            if turns is not None and result.shape is not None and not _is_static(output):
                output.shape, changed = ir.Shape((turns, *result.shape)), True
    return changed


def _told(node: ir.Node) -> ir.Shape | None:
    """The shape of the first output, where ONNX's inference has no rule for it."""
    source = node.inputs[0] if node.inputs else None
    if source is None or source.shape is None or not _is_static(source):
        return None
    if node.op_type in _SHAPE_KEEPING:
        return source.shape
    return _stft(node, source) if node.op_type == "STFT" else None


def _stft(node: ir.Node, source: ir.Value) -> ir.Shape | None:
    step, window, length = (input_of(node, index) for index in (1, 2, 3))
    size = constant(length)
    if size is None and window is not None and _is_static(window):
        size = np.array(shape_of(window)[0])
    hop = constant(step)
    if size is None or hop is None:
        return None
    batch, samples = shape_of(source)[:2]
    frame = int(size.reshape(-1)[0])
    frequencies = frame // 2 + 1 if node.attributes.get_int("onesided", 1) else frame
    return ir.Shape((batch, (samples - frame) // int(hop.reshape(-1)[0]) + 1, frequencies, 2))


def _is_static(value: ir.Value) -> bool:
    return value.shape is not None and value.shape.is_static()
