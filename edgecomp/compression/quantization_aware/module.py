"""A quantized graph as a torch module that rounds where the artifacts do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch

from edgecomp.compression.quantization_aware.places import (
    DOMAIN,
    ROUND,
    Grid,
    grids,
    insert_rounding,
    rounded_constants,
)
from edgecomp.compression.quantization_aware.rounding import LearnedRounding
from edgecomp.compression.training.masks import set_mask
from edgecomp.graph.query import input_of
from edgecomp.graph_module.module import GraphModule, decomposed
from edgecomp.graph_module.ops.node import Build, Function
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.qdq import stored_numbers

Tensor = torch.Tensor

#: Turns the graph's outputs into the structure that the original returns and the task's loss takes.
Structure = Callable[[Sequence[Tensor]], Any]


class RoundingModule(torch.nn.Module):
    """Computes the same as the simulation of a quantized model, in torch and with gradients.

    Args:
        model: A model with quantized activations.
        structure: Restores the structure of the outputs.
        keep_zeros: Whether weights that are zero, because they were pruned, stay zero.

    Attributes:
        grids: The rounded tensors.
        roundings: The rounding of each grid.

    Raises:
        UnsupportedOperatorError: A node cannot be differentiated.
    """

    def __init__(self, model: CompressedModel, structure: Structure, *, keep_zeros: bool = True) -> None:
        super().__init__()
        graph = decomposed(model).graph.clone()
        self.grids: list[Grid] = grids(graph, model.quantization)
        self.roundings = torch.nn.ModuleList(
            LearnedRounding(grid.parameters, learned=grid.learned, narrow=grid.weight) for grid in self.grids
        )
        weights = {name for grid in self.grids if grid.weight for name in grid.members}
        for value in rounded_constants(graph.graph, model.quantization, weights):
            numbers = stored_numbers(value, model.quantization[value.name or ""])
            value.const_value = ir.tensor(numbers, name=value.name)
        insert_rounding(graph, model.quantization, self.grids)
        trainable = weights | _biases(graph.graph)
        self.graph = GraphModule(graph, trainable=trainable, extra={f"{DOMAIN}::{ROUND}": self._build()})
        self._structure = structure
        if keep_zeros:
            for name in weights:
                mask = self.graph.weights[name].detach() != 0
                if not mask.all():
                    set_mask(self.graph, self.graph.key_of(name), mask)

    def forward(self, *inputs: Tensor) -> Any:
        """Runs the graph on any multiple of its number of samples."""
        return self._structure(self.graph(*inputs))

    def _build(self) -> Build:
        def build(node: ir.Node) -> Function:
            number = node.attributes.get_int("grid")
            return lambda inputs: self.roundings[number](inputs)

        return build


class FloatModule(torch.nn.Module):
    """Runs the float graph of a model: the teacher, if the source has no module.

    Args:
        model: The model; its quantization table is ignored.
        structure: Restores the structure of the outputs.
    """

    def __init__(self, model: CompressedModel, structure: Structure) -> None:
        super().__init__()
        self.graph = GraphModule(decomposed(CompressedModel(model.graph, dynamic=model.dynamic)).graph)
        self._structure = structure

    def forward(self, *inputs: Tensor) -> Any:
        """Runs the graph on any multiple of its number of samples."""
        return self._structure(self.graph(*inputs))


def _biases(graph: ir.Graph) -> set[str]:
    """Returns constants that a node with a weight adds to each channel, and that nothing else reads."""
    found = set()
    for node in graph:
        bias = input_of(node, 2) if node.op_type in scheme.WEIGHTED else None
        if bias is not None and bias.const_value is not None and len(tuple(bias.uses())) == 1:
            found.add(bias.name or "")
    return found
