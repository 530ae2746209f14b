"""Writes what was learned back into graph and table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgecomp.compression.quantization_aware.module import RoundingModule
from edgecomp.compression.quantization_aware.rounding import LearnedRounding
from edgecomp.graph.query import input_of
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.static import set_weight_scale


def learned(model: CompressedModel, module: RoundingModule) -> CompressedModel:
    """Returns the model with the weights, biases and scales of the trained module.

    Args:
        model: The model that the module was made of.
        module: The trained module.

    Returns:
        The same graph with other constants, and a table that follows the scheme: weights within [-127, 127] steps, and
        biases scaled by the product of the scales of input and weight.
    """
    graph, table = model.graph.clone(), dict(model.quantization)
    scales: dict[str, QuantizationParameters] = {}
    for grid, rounding in zip(module.grids, module.roundings, strict=True):
        assert isinstance(rounding, LearnedRounding)
        entry = replace(grid.parameters, scale=rounding.scale.detach().cpu().numpy())
        (scales if grid.weight else table).update(dict.fromkeys(grid.members, entry))
    for name, weight in module.graph.weights.items():
        if name in graph.graph.initializers:  # not part of a node that was decomposed for training
            value = graph.graph.initializers[name]
            value.const_value = ir.tensor(weight.detach().cpu().numpy().copy(), name=name)
    for node in graph.graph:
        weight_value = node.inputs[1] if scheme.has_constant_weight(node) else None
        entry_of_weight = scales.get(weight_value.name or "") if weight_value is not None else None
        if entry_of_weight is not None:
            _write(node, table, entry_of_weight)
    return replace(model, graph=graph, quantization=table)


def _write(node: ir.Node, table: dict[str, QuantizationParameters], entry: QuantizationParameters) -> None:
    weight = node.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    bias = input_of(node, 2)
    if bias is None or bias.name in table:
        set_weight_scale(node, table, entry.scale.astype(np.float64), entry.axis)
    final = table[weight.name or ""]
    shape = [1] * len(weight.const_value.shape)
    if final.axis is not None:
        shape[final.axis] = -1
    largest = 127.4 * final.scale.reshape(shape)  # smaller values round to 127 or less, and stay as they are
    inside = np.clip(weight.const_value.numpy(), -largest, largest).astype(np.float32)
    weight.const_value = ir.tensor(inside, name=weight.name)
