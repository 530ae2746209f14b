"""Keeps what a rounding does to numbers beyond its range, where nothing computes with the integers.

Between operators in float no artifact rounds. A source may count on the rounding all the same: it saturates, and
ONNX Runtime's tools leave out the Relu or Clip that saturation does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgecomp.graph.query import is_constant
from edgecomp.graph.values import add_constant, take_place
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme


def keep_saturation(model: CompressedModel) -> CompressedModel:
    """The model with a Clip in front of each rounding whose integers nobody computes with; its table stays true."""
    if not model.quantization or model.weights_only:
        return model
    graph = model.graph.clone()
    nodes = list(graph.graph)
    for value in [*graph.graph.inputs, *(value for node in nodes for value in node.outputs)]:
        entry = model.quantization.get(value.name or "")
        if entry is None or is_constant(value):
            continue
        if not any(scheme.runs_in_integers(node, model.quantization) for node in _neighbours(value)):
            _clip(graph.graph, value, *entry.range)
    return replace(model, graph=graph)


def _neighbours(value: ir.Value) -> list[ir.Node]:
    producer = value.producer()
    return [*([] if producer is None else [producer]), *(use.node for use in value.uses())]


def _clip(graph: ir.Graph, value: ir.Value, low: float, high: float) -> None:
    name = f"{value.name}/saturated"
    bounds = [add_constant(graph, f"{name}/{end}", np.float32(bound)) for end, bound in (("low", low), ("high", high))]
    clip = ir.node("Clip", [value, *bounds], name=name)
    result, producer = clip.outputs[0], value.producer()
    result.shape, result.type = value.shape, value.type
    if producer is None:
        result.name = name
        value.replace_all_uses_with(result)
        graph.insert_before(graph[0], clip)
    else:
        take_place(result, value)
        value.name = f"{result.name}/unsaturated"
        graph.insert_after(producer, clip)
    clip.replace_input_with(0, value)
