"""Blocks of a quantized graph in torch, whose weights lie between two integers until gradient descent decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch

from edgecomp.arrays import Array
from edgecomp.compression.quantization_aware.places import (
    DOMAIN,
    ROUND,
    grids,
    insert_rounding,
    rounded_constants,
)
from edgecomp.compression.quantization_aware.rounding import LearnedRounding
from edgecomp.graph.query import input_of, required_constant
from edgecomp.graph_module.module import GraphModule, decomposed
from edgecomp.graph_module.ops.node import Build, Function
from edgecomp.model import CompressedModel
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import stored_numbers
from edgecomp.recovery.adaround import sharpness, stretched, undecided, unstretched
from edgecomp.recovery.blocks import Block, blocks

if TYPE_CHECKING:
    from edgecomp.recovery.block_rounding import BlockRounding

Tensor = torch.Tensor
Batches = Sequence[tuple[Tensor, ...]]

#: One of this many batches is held out to judge a block.
_HELD_OUT = 4


class SoftRounding(torch.nn.Module):
    """A weight whose elements lie between their two nearest integers.

    Args:
        weight: Real values.
        parameters: Its quantization parameters.

    Attributes:
        variable: The learned parameter, of the weight's shape.
        hard: Whether the integers are used; before that, values lie in between.
    """

    floor: Tensor
    scale: Tensor

    def __init__(self, weight: Array, parameters: QuantizationParameters) -> None:
        super().__init__()
        shape = [1] * weight.ndim
        if parameters.axis is not None:
            shape[parameters.axis] = -1
        scale = torch.from_numpy(np.array(parameters.scale)).reshape(shape)
        steps = torch.from_numpy(np.array(weight)) / scale
        self.register_buffer("floor", steps.floor())
        self.register_buffer("scale", scale)
        self._share = steps - steps.floor()
        self.variable = torch.nn.Parameter(unstretched(self._share))
        self.hard = False

    @property
    def integers(self) -> Tensor:
        """The integers that the variable stands for."""
        return (self.floor + (stretched(self.variable.detach()) >= 0.5)).clamp(-127, 127)

    def forward(self, _: Tensor) -> Tensor:
        """Returns the values of the integers, or values in between."""
        if self.hard:
            return self.integers * self.scale
        return (self.floor + stretched(self.variable)).clamp(-127, 127) * self.scale

    def undecided(self, exponent: float) -> Tensor:
        """Computes how far the values are from integers (see `adaround.undecided`)."""
        return undecided(stretched(self.variable), exponent)

    def restart(self, *, nearest: bool) -> None:
        """Forgets what was learned: values return to those in float, or to the nearest integers."""
        with torch.no_grad():
            self.variable.copy_(unstretched(self._share.round() if nearest else self._share))


class Pair:
    """A graph in torch in two versions: exact, and rounded with weights to choose.

    Args:
        exact: The target: weights and biases in real numbers.
        model: Quantized. `exact` is the same before biases were corrected for rounding to nearest.
    """

    def __init__(self, exact: CompressedModel, model: CompressedModel) -> None:
        self._float = decomposed(exact).graph
        self._rounded = self._float.clone()
        table, constants = model.quantization, self._float.graph.initializers
        self._grids = grids(self._rounded, table)
        self._roundings: list[torch.nn.Module] = [
            SoftRounding(required_constant(constants[grid.members[0]]), grid.parameters)
            if grid.weight
            else LearnedRounding(grid.parameters, learned=False)
            for grid in self._grids
        ]
        weights = {name for grid in self._grids if grid.weight for name in grid.members}
        for value in rounded_constants(self._rounded.graph, table, weights):
            numbers = stored_numbers(value, table[value.name or ""])
            value.const_value = ir.tensor(numbers, name=value.name)
        insert_rounding(self._rounded, table, self._grids)
        self._biases = {
            name: torch.from_numpy(np.array(required_constant(value)))
            for name, value in model.graph.graph.initializers.items()
            if name in table and name not in weights
        }

    def parts(self, layers: int) -> Iterator[Part]:
        """Yields the blocks, in order.

        Args:
            layers: The smallest number of layers in a block.
        """
        by_name = {
            grid.members[0]: rounding
            for grid, rounding in zip(self._grids, self._roundings, strict=True)
            if isinstance(rounding, SoftRounding)
        }
        for block in blocks(self._float.graph, layers):
            names = [_weight_of(node) for node in block.nodes]
            roundings = {name: by_name[name] for name in names if name in by_name}
            biases = [input_of(node, 2) for node in block.nodes if _weight_of(node) in roundings]
            trainable = [bias.name or "" for bias in biases if bias is not None and bias.name in self._biases]
            extra = {f"{DOMAIN}::{ROUND}": self._build()}
            rounded = GraphModule(
                self._rounded, inputs=block.inputs, outputs=self._outputs(block), trainable=trainable, extra=extra
            )
            exact = GraphModule(self._float, inputs=block.inputs, outputs=block.outputs)
            yield Part(exact, rounded, roundings, {name: self._biases[name] for name in trainable})

    def _outputs(self, block: Block) -> Sequence[str]:
        """Returns the outputs in the rounded graph: graph outputs are rounded here, those of a block by the next."""
        if block.outputs == tuple(value.name for value in self._float.graph.outputs):
            return [value.name or "" for value in self._rounded.graph.outputs]
        return block.outputs

    def _build(self) -> Build:
        def build(node: ir.Node) -> Function:
            number = node.attributes.get_int("grid")
            return lambda inputs: self._roundings[number](inputs)

        return build


@dataclass
class Part:
    """One block.

    Attributes:
        exact: In float.
        rounded: With weights to choose; its parameters are the biases.
        roundings: By the weight's name.
        biases: The biases for rounding to nearest, by name.
    """

    exact: GraphModule
    rounded: GraphModule
    roundings: Mapping[str, SoftRounding]
    biases: Mapping[str, Tensor]
    learned: bool = False

    def run_float(self, batches: Batches) -> list[tuple[Tensor, ...]]:
        """Runs the block in float."""
        with torch.no_grad():
            return [self.exact(*batch, times=1) for batch in batches]

    def run_rounded(self, batches: Batches) -> list[tuple[Tensor, ...]]:
        """Runs the block with every weight at an integer."""
        for rounding in self.roundings.values():
            rounding.hard = True
        with torch.no_grad():
            return [self.rounded(*batch, times=1) for batch in batches]

    def begin(self, biases: Mapping[str, Tensor], *, nearest: bool) -> None:
        """Sets weights and biases to where learning starts, or to rounding to nearest."""
        with torch.no_grad():
            for rounding in self.roundings.values():
                rounding.restart(nearest=nearest)
            for name, numbers in biases.items():
                self.rounded.weights[name].copy_(numbers)

    def write(self, graph: ir.Graph) -> None:
        """Writes the learned values into a graph."""
        if not self.learned:
            return
        arrays = {name: (each.integers * each.scale).numpy() for name, each in self.roundings.items()}
        arrays |= {name: self.rounded.weights[name].detach().numpy() for name in self.biases}
        for name, array in arrays.items():
            if name in graph.initializers:  # not part of a node that was decomposed
                graph.initializers[name].const_value = ir.tensor(array.astype(np.float32).copy(), name=name)


def _weight_of(node: ir.Node) -> str:
    weight = input_of(node, 1)
    return "" if weight is None else weight.name or ""


def fit(part: Part, inputs: Batches, wanted: Batches, settings: BlockRounding) -> float:
    """Learns the rounding of one block.

    Args:
        part: Changed in place.
        inputs: The outputs of the rounded blocks before it.
        wanted: The outputs that the block should have.
        settings: See `BlockRounding`.

    Returns:
        The share of the error that is left on held-out batches; 1 if rounding to nearest was kept.
    """
    judged = slice(None, None, _HELD_OUT)
    seen = [index for index in range(len(inputs)) if index % _HELD_OUT] or [0]
    begun = {name: bias.detach().clone() for name, bias in part.rounded.weights.items()}
    part.begin(part.biases, nearest=True)
    nearest = part.run_rounded(inputs)
    before, unit = _error(nearest[judged], wanted[judged]), float(_error(nearest, wanted))
    if unit <= 0:
        return 1.0
    part.begin(begun, nearest=False)
    _descend(part, [inputs[index] for index in seen], [wanted[index] for index in seen], unit, settings)
    after = _error(part.run_rounded(inputs[judged]), wanted[judged])
    part.learned = bool(after < before)
    if not part.learned:
        part.begin(part.biases, nearest=True)
    return float(after / before) if part.learned else 1.0


def _descend(part: Part, inputs: Batches, wanted: Batches, unit: float, settings: BlockRounding) -> None:
    """Runs gradient descent over minibatches, while values are driven to integers (see `adaround`)."""
    for rounding in part.roundings.values():
        rounding.hard = False
    biases = [part.rounded.weights[name] for name in part.biases]
    sizes = [float(bias.detach().abs().mean()) for bias in biases]
    groups: list[dict[str, Any]] = [{"params": [rounding.variable]} for rounding in part.roundings.values()]
    # Biases have very different magnitudes, so each gets a learning rate proportional to its own.
    groups += [
        {"params": [bias], "lr": 0.01 * settings.learning_rate * size} for bias, size in zip(biases, sizes, strict=True)
    ]
    optimizer = torch.optim.Adam(groups, settings.learning_rate)
    together = len({tensor.shape[0] for tensor in inputs[0] if tensor.ndim}) == 1
    shapes = [[tensor.shape for tensor in batch] for batch in inputs]
    for iteration in range(settings.iterations):
        order = torch.randperm(len(inputs)).tolist()
        alike = [index for index in order if shapes[index] == shapes[order[0]]]
        chosen = alike[: settings.minibatch if together else 1]
        found = part.rounded(*_joined([inputs[index] for index in chosen]), times=len(chosen))
        loss = _error([found], [_joined([wanted[index] for index in chosen])]) / unit
        if (exponent := sharpness(iteration, settings.iterations, settings.warmup)) is not None:
            penalties = [rounding.undecided(exponent) for rounding in part.roundings.values()]
            loss = loss + settings.penalty * torch.stack(penalties).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _joined(batches: Batches) -> tuple[Tensor, ...]:
    """Joins several batches."""
    return batches[0] if len(batches) == 1 else tuple(torch.cat(column) for column in zip(*batches, strict=True))


def _error(found: Batches, wanted: Batches) -> Tensor:
    """Computes the mean squared error over batches and outputs, relative to the target's mean square."""
    ratios = [
        (given - right).square().mean() / right.square().mean().clamp_min(1e-12)
        for each, other in zip(found, wanted, strict=True)
        for given, right in zip(each, other, strict=True)
    ]
    return torch.stack(ratios).mean()
