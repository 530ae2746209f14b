"""High-bias absorption: moves an offset that a Relu always passes into later biases (Nagel et al., 2019).

Section 4.1.3: a channel that never gets near 0 wastes the range from 0 to its smallest value c, and stretches the range
of the whole tensor. relu(x) - c = relu(x - c) as long as x >= c, so c is subtracted from the first layer's bias, and
the biases of the next layers make up for it. If a next layer pads with zeros, its border would be wrong; such links are
left alone.

Nagel et al. derive c from BatchNorm. Here it is the smallest calibrated value, less `margin` of the channel's range,
because other data may reach lower. For values below c the network changes, by at most the distance to c; on calibration
data it does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgecomp.arrays import Arrays
from edgecomp.graph.weights import scale_outputs, shift_inputs, takes_offset
from edgecomp.model import CompressedModel, Step
from edgecomp.recovery.channels import ChannelStatistics, FloatArray, measure_channels
from edgecomp.recovery.equalization import Link, links
from edgecomp.step import Stage, check_setting

if TYPE_CHECKING:
    from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class BiasAbsorption:
    """Settings of high-bias absorption.

    Attributes:
        margin: How much of a channel's range is kept below its smallest value.
        least_gain: The reduction of the activation's range, in dB, below which nothing is changed.
    """

    kind: ClassVar[str] = "absorb-biases"
    stage: ClassVar[Stage] = "graph"
    margin: float = 0.1
    least_gain: float = 1.0

    def __post_init__(self) -> None:
        check_setting(self.margin >= 0, self, "margin", "a share, 0 or more")
        check_setting(self.least_gain >= 0, self, "least_gain", "decibels, 0 or more")

    def apply(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        """Absorbs offsets that the calibration data show."""
        return absorb_biases(model, bench.calibration_batches("absorb"), self)


def absorb_biases(
    model: CompressedModel, batches: Iterable[Arrays], settings: BiasAbsorption | None = None
) -> CompressedModel:
    """Moves offsets that a Relu always passes into later biases.

    Args:
        model: A simplified float model.
        batches: Calibration inputs in the graph's order and shapes.
        settings: See `BiasAbsorption`.

    Returns:
        A model that computes the same on the calibration data.
    """
    settings = settings or BiasAbsorption()
    graph = model.graph.clone()
    found = [link for link in links(graph.graph) if _can_absorb(link)]
    axes = {link.activation.name or "": link.axis for link in found}
    seen = measure_channels(model, axes, batches)
    absorbed = 0
    for link in found:
        offset = _offset(seen[link.activation.name or ""], settings)
        if offset is None:
            continue
        scale_outputs(graph.graph, link.firsts[0], np.ones(1), -offset)
        for node in link.readers:
            shift_inputs(graph.graph, node, offset)
        absorbed += 1
    step = Step(settings.kind, asdict(settings), {"links": len(found), "absorbed": absorbed})
    return model.after(step, graph=graph)


def _can_absorb(link: Link) -> bool:
    """Tells whether one layer comes first, only Relu and pools follow, and all readers can take an offset."""
    passes = {"Relu", "MaxPool", "GlobalMaxPool", "GlobalAveragePool"}
    return (
        len(link.firsts) == 1
        and link.firsts[0].op_type != "MatMul"
        and all(node.op_type in passes for node in link.between)
        and all(takes_offset(node) for node in link.readers)
    )


def _offset(statistics: ChannelStatistics, settings: BiasAbsorption) -> FloatArray | None:
    """Returns the offset of each channel; None if the range of the tensor would shrink too little."""
    low, high = statistics.low, statistics.high
    offset = np.maximum(low - settings.margin * (high - low), 0)
    before = max(high.max(), 0) - min(low.min(), 0)
    after = max((high - offset).max(), 0) - min((low - offset).min(), 0)
    gain = 20 * np.log10(max(before, 1e-30) / max(after, 1e-30))
    return offset if gain >= settings.least_gain else None
