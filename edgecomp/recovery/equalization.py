"""Cross-layer equalization: gives channels between two layers similar ranges (Nagel et al., 2019).

If one layer feeds others through an activation that scales with its input (Relu, LeakyRelu, PRelu, none) and through
pools, channel c of the first may be divided by s_c if the weights that read it are multiplied by s_c: the network
computes the same. Depthwise convolutions are ordinary links of such a chain. With a scale for each output channel, the
first layer's weights lose nothing. The factors therefore follow from the measured channels of the activation and the
weights that read them (`balance`), not from both weights, and one pass over the graph is enough. After a Concat, the
channels of several layers share one scale and are equalized together.

A clip at a number, such as that of ReLU6, does not scale with its input. One that no calibration value comes near could
become a Relu, but the network would then differ on other data. It is left alone, and so are the layers around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Arrays
from edgecomp.graph.query import is_constant, only_consumer, shape_of
from edgecomp.graph.weights import channel_axes, has_weight, output_channels, scale_inputs, scale_outputs
from edgecomp.model import CompressedModel, Step
from edgecomp.recovery.balance import balance
from edgecomp.recovery.channels import measure_channels
from edgecomp.step import Stage, check_setting

if TYPE_CHECKING:
    from edgecomp.workbench import Workbench

#: Operators with f(s x) = s f(x) for every s > 0, channel by channel.
_HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})


@dataclass(frozen=True)
class Equalization:
    """Settings of cross-layer equalization.

    Attributes:
        least_gain: The predicted reduction of noise, in dB, below which a pair of layers is left alone.
        batches: The largest number of calibration batches: more of them add little about how channels differ.
    """

    kind: ClassVar[str] = "equalize"
    stage: ClassVar[Stage] = "graph"
    least_gain: float = 1.0
    batches: int = 64

    def __post_init__(self) -> None:
        check_setting(self.least_gain >= 0, self, "least_gain", "decibels, 0 or more")

    def apply(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        """Equalizes by the statistics of the calibration data."""
        return equalize(model, islice(bench.calibration_batches("equalize"), self.batches), self)


@dataclass(frozen=True)
class Link:
    """Layers, and the layers that read their outputs.

    Attributes:
        firsts: Layers with a constant weight, with or without bias; several are joined by a Concat, in its order.
        activation: Their output after the activation function, before pools.
        between: The nodes in between.
        readers: All layers that read it.
    """

    firsts: tuple[ir.Node, ...]
    activation: ir.Value
    between: tuple[ir.Node, ...]
    readers: tuple[ir.Node, ...]

    @property
    def axis(self) -> int:
        """The dimension of the activation's channels."""
        return channel_axes(self.firsts[0])[0]


def equalize(
    model: CompressedModel, batches: Iterable[Arrays], settings: Equalization | None = None
) -> CompressedModel:
    """Equalizes the channels between layers.

    Args:
        model: A simplified float model.
        batches: Calibration inputs in the graph's order and shapes.
        settings: See `Equalization`.

    Returns:
        A model that computes the same.
    """
    settings = settings or Equalization()
    graph = model.graph.clone()
    found = list(links(graph.graph))
    axes = {link.activation.name or "": link.axis for link in found}
    seen = measure_channels(model, axes, batches)
    changed = 0
    for link in found:
        best = balance(seen[link.activation.name or ""], link.readers)
        if best.gain < settings.least_gain:
            continue
        ends = np.cumsum([output_channels(node) for node in link.firsts])[:-1]
        for node, factors in zip(link.firsts, np.split(best.factors, ends), strict=True):
            scale_outputs(graph.graph, node, 1 / factors, np.zeros(1))
        for node in link.readers:
            scale_inputs(graph.graph, node, best.factors)
        changed += 1
    return model.after(Step(settings.kind, asdict(settings), {"pairs": len(found), "equalized": changed}), graph=graph)


def links(graph: ir.Graph) -> Iterator[Link]:
    """Yields layers whose outputs reach their readers only through scaling operators, and Concats of such layers."""
    chains: dict[ir.Value, Link] = {}  # without readers yet, by their last value
    for node in graph:
        if has_weight(node):
            chain = Link((node,), node.outputs[0], (), ())
        elif _passes_on(node, chains):
            chain = _joined(node, [chains[value] for value in node.inputs if value in chains])
        else:
            continue
        end = node.outputs[0]
        chains[end] = chain
        uses = tuple(end.uses())
        if end.is_graph_output() or not uses or end.shape is None or not end.shape.is_static():
            continue
        if all(use.idx == 0 and _reads_channels_of(use.node, chain.axis, end) for use in uses):
            yield Link(chain.firsts, chain.activation, chain.between, tuple(use.node for use in uses))


def _passes_on(node: ir.Node, chains: Mapping[ir.Value, Link]) -> bool:
    """Tells whether a node's output scales channel by channel with the outputs of layers alone."""
    if node.op_type == "Concat":
        sources = [value for value in node.inputs if value is not None]
        alone = all(value in chains and only_consumer(value) is node for value in sources)
        if not alone or len(set(sources)) < len(sources):
            return False
        rank = len(shape_of(node.outputs[0]))
        wanted = node.attributes.get_int("axis", 0) % rank
        return all(chains[value].axis % rank == wanted for value in sources)
    source = node.inputs[0] if node.inputs else None
    slope_is_known = node.op_type != "PRelu" or is_constant(node.inputs[1])
    return (
        node.op_type in _HOMOGENEOUS and slope_is_known and source in chains and only_consumer(source) is node  # type: ignore[arg-type]
    )


def _joined(node: ir.Node, chains: Sequence[Link]) -> Link:
    """Appends a node to one chain, or joins several chains with it."""
    firsts = tuple(first for chain in chains for first in chain.firsts)
    between = (*(inner for chain in chains for inner in chain.between), node)
    moves_on = node.op_type in {"Relu", "LeakyRelu", "PRelu", "Concat"}
    return Link(firsts, node.outputs[0] if moves_on else chains[0].activation, between, ())


def _reads_channels_of(reader: ir.Node, axis: int, value: ir.Value) -> bool:
    """Tells whether a layer's input channels are the other's output channels."""
    rank = len(shape_of(value))
    return has_weight(reader) and channel_axes(reader)[1] % rank == axis % rank
