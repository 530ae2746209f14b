"""Cross-layer equalization: channels between two layers get ranges of like size (Nagel et al., 2019).

Where one layer feeds others through an activation that scales with its input (Relu, LeakyRelu, PRelu, none) and through
pools, channel c of the first may be divided by s_c and what the others read of it multiplied: the network computes the
same. Depthwise convolutions are links of such a chain like any other. With a scale for each output channel the first
layer's weights lose nothing by it, so that the factors follow from the activation's channels, which are measured, and
the weights that read them (`balance`), not from both weights; one pass over the graph is enough.

A clip at a number, as ReLU6 has it, does not scale with its input. One that no calibration value comes near could
become a Relu, but would then compute something else on other data: it is left alone, and so are the layers around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.graph.query import is_constant, only_consumer, shape_of
from edgecomp.graph.weights import channel_axes, has_weight, scale_inputs, scale_outputs
from edgecomp.model import CompressedModel, Step
from edgecomp.recovery.balance import balance
from edgecomp.recovery.channels import measure_channels
from edgecomp.step import Stage

if TYPE_CHECKING:
    from edgecomp.workbench import Workbench

#: f(s x) = s f(x) for every s > 0, channel by channel.
_HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})


@dataclass(frozen=True)
class Equalization:
    """Settings of cross-layer equalization.

    Attributes:
        least_gain: In dB of predicted noise; below it a pair of layers is left alone.
    """

    kind: ClassVar[str] = "equalize"
    stage: ClassVar[Stage] = "graph"
    least_gain: float = 1.0

    def apply(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        """Equalizes by what the calibration data show."""
        return equalize(model, bench.calibration_batches("equalize"), self)


@dataclass(frozen=True)
class Link:
    """A layer and the layers that alone read what it gives.

    Attributes:
        first: Has a constant weight, and a bias or none.
        activation: What it gives after its activation function, before pools.
        between: The nodes in between.
        readers: The layers behind.
    """

    first: ir.Node
    activation: ir.Value
    between: tuple[ir.Node, ...]
    readers: tuple[ir.Node, ...]


def equalize(
    model: CompressedModel, batches: Iterable[tuple[npt.NDArray[Any], ...]], settings: Equalization | None = None
) -> CompressedModel:
    """Evens out the channels between layers.

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
    axes = {link.activation.name or "": channel_axes(link.first)[0] for link in found}
    seen = measure_channels(model.graph, axes, batches)
    changed = 0
    for link in found:
        best = balance(seen[link.activation.name or ""], link.readers)
        if best.gain < settings.least_gain:
            continue
        scale_outputs(graph.graph, link.first, 1 / best.factors, np.zeros(1))
        for node in link.readers:
            scale_inputs(graph.graph, node, best.factors)
        changed += 1
    return model.after(Step(settings.kind, asdict(settings), {"pairs": len(found), "equalized": changed}), graph=graph)


def links(graph: ir.Graph) -> Iterator[Link]:
    """Every layer whose output others read through nothing but what scales with it."""
    for node in graph:
        if not has_weight(node):
            continue
        activation = end = node.outputs[0]
        between: list[ir.Node] = []
        while (follower := only_consumer(end)) is not None and _is_homogeneous(follower, end):
            between.append(follower)
            end = follower.outputs[0]
            activation = end if follower.op_type in {"Relu", "LeakyRelu", "PRelu"} else activation
        uses = tuple(end.uses())
        if end.is_graph_output() or not uses or end.shape is None or not end.shape.is_static():
            continue
        if all(use.idx == 0 and _reads_channels_of(use.node, node, end) for use in uses):
            yield Link(node, activation, tuple(between), tuple(use.node for use in uses))


def _is_homogeneous(node: ir.Node, source: ir.Value) -> bool:
    slope_is_known = node.op_type != "PRelu" or is_constant(node.inputs[1])
    return node.op_type in _HOMOGENEOUS and node.inputs[0] is source and slope_is_known


def _reads_channels_of(reader: ir.Node, first: ir.Node, value: ir.Value) -> bool:
    """Whether a layer takes for channels what another gives as channels."""
    rank = len(shape_of(value))
    return has_weight(reader) and channel_axes(reader)[1] % rank == channel_axes(first)[0] % rank
