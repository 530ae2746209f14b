"""The evidence about one layer, from which `findings` derives why it hurts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.diagnosis.measure import Measured
from edgecomp.graph.query import constant, describe, is_constant
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.estimators import percentile
from edgecomp.quantization.parameters import QuantizationParameters

#: The share of values by which the use of a range is judged.
MOST = 0.999


@dataclass(frozen=True)
class Evidence:
    """A layer with its measurements, its node and its parameters.

    Attributes:
        measured: The measurements.
        model: The quantized model.
        node: The node that produces the layer's tensor; None for a graph input.
        value: The layer's tensor.
    """

    measured: Measured
    model: CompressedModel
    node: ir.Node | None
    value: ir.Value

    @property
    def parameters(self) -> QuantizationParameters | None:
        """The parameters of the layer's tensor; None for weights alone."""
        return None if self.model.weights_only else self.model.quantization.get(self.measured.layer.tensor)

    @property
    def step(self) -> float:
        """The distance between two integers, 0 for weights alone."""
        return float(self.parameters.scale) if self.parameters is not None else 0.0

    @property
    def width(self) -> float:
        """The width of the range that the integers cover."""
        if self.parameters is None:
            return 0.0
        low, high = self.parameters.range
        return high - low

    @property
    def op_type(self) -> str:
        """The node's operator; "Input" for a graph input."""
        return "Input" if self.node is None else self.node.op_type

    @cached_property
    def common(self) -> tuple[float, float]:
        """The interval of all but 0.1 % of the values, extended to include zero."""
        if self.measured.statistics is None:
            return 0.0, 0.0
        low, high = percentile(self.measured.statistics, MOST)
        return min(low, 0.0), max(high, 0.0)

    @property
    def used(self) -> float:
        """The share of the range that 99.9 % of the values use."""
        low, high = self.common
        return min(1.0, (high - low) / self.width) if self.width else 1.0

    @cached_property
    def reach(self) -> tuple[float, float]:
        """The smallest and the largest value, extended to include zero."""
        seen = self.measured.statistics
        return (0.0, 0.0) if seen is None else (min(seen.low, 0.0), max(seen.high, 0.0))

    @property
    def fixed(self) -> bool:
        """Whether the scheme fixes the parameters of the layer's tensor, regardless of its values."""
        return (
            self.node is not None
            and scheme.is_quantizable(self.node)
            and self.parameters is not None
            and (scheme.fixed_parameters(self.node, self.parameters.dtype) == self.parameters)
        )

    def share_between(self, low: float, high: float) -> float:
        """Returns the share of values in (low, high)."""
        seen = self.measured.statistics
        if seen is None:
            return 0.0
        inside = (seen.centers > low) & (seen.centers < high)
        return float(seen.counts[inside].sum() / seen.counts.sum())

    def span_between(self, low: float, high: float) -> tuple[float, float]:
        """Returns the smallest and the largest value in (low, high), to the precision of the histogram."""
        seen = self.measured.statistics
        if seen is None:
            return 0.0, 0.0
        inside = seen.centers[(seen.centers > low) & (seen.centers < high) & (seen.counts > 0)]
        return (float(inside[0]), float(inside[-1])) if inside.size else (0.0, 0.0)

    @cached_property
    def channel_spread(self) -> float:
        """The largest channel's peak over the median channel's; 1 for a tensor without channels."""
        return _spread(self.measured.peaks)

    @cached_property
    def mean_spread(self) -> float:
        """The same for the channels' mean absolute values, which a single spike does not affect."""
        return _spread(self.measured.means)

    @cached_property
    def weight(self) -> npt.NDArray[np.float32] | None:
        """The weight before it was rounded."""
        if self.node is None or not scheme.has_constant_weight(self.node):
            return None
        return constant(self.node.inputs[1])

    @property
    def weight_parameters(self) -> QuantizationParameters | None:
        """The parameters of the weight."""
        weight = None if self.weight is None or self.node is None else self.node.inputs[1]
        return None if weight is None else self.model.quantization.get(weight.name or "")

    @cached_property
    def weight_spread(self) -> float:
        """The largest output channel's weight over the median one's; 1 without a weight."""
        return _spread(self._weight_peaks(self._output_axis))

    @cached_property
    def input_spread(self) -> float:
        """The largest input channel's weight over the smallest one's; 1 without a weight or with one per group."""
        if self.weight is None or self.weight.ndim < 2:
            return 1.0
        peaks = self._weight_peaks(self._output_axis - 1 if self._output_axis else 1)
        alive = peaks[peaks > 0]
        return float(alive.max() / alive.min()) if alive.size > 1 else 1.0

    @property
    def _output_axis(self) -> int:
        """The weight's output channel dimension."""
        if self.weight is None or self.node is None or self.op_type == "Conv":
            return 0
        if self.op_type == "Gemm":
            return 0 if self.node.attributes.get_int("transB", 0) else 1
        return 1 if self.op_type == "ConvTranspose" else self.weight.ndim - 1

    def _weight_peaks(self, axis: int) -> npt.NDArray[np.float32]:
        if self.weight is None:
            return np.zeros(0, np.float32)
        others = tuple(each for each in range(self.weight.ndim) if each != axis)
        return np.asarray(np.abs(self.weight).max(axis=others), np.float32)

    @property
    def weights_share(self) -> float:
        """The share of the layer's own error that comes from its weight: the rest after rounding and clipping."""
        if self.weight is None:
            return 0.0
        return max(0.0, 1.0 - self.measured.clipped - self.measured.rounding)

    @property
    def gain(self) -> float:
        """By how many dB the rest of the network magnifies the layer's error."""
        return self.measured.own.sqnr - self.measured.alone.sqnr

    @property
    def is_swish(self) -> bool:
        """Whether the layer is Swish or similar, possibly scaled and shifted by constants."""
        node = self.node
        while node is not None and node.op_type in {"Add", "Mul", "Identity"} and not _is_gate(node):
            computed = [value for value in node.inputs if value is not None and not is_constant(value)]
            node = computed[0].producer() if len(computed) == 1 else None
        return node is not None and (node.op_type in _SWISHES or _is_gate(node))

    @property
    def given_out(self) -> bool:
        """Whether an output of the model contains the layer's tensor, at most moved or joined with others."""
        return _is_given_out((self.value,))

    def joined_at(self) -> tuple[str, bool] | None:
        """Returns the operator that joins the tensor's parameters with others', and whether it reaches an output."""
        waiting = [self.value]
        while waiting:
            value = waiting.pop()
            for use in value.uses():
                node = use.node
                if node.op_type in scheme.OPERATORS and scheme.OPERATORS[node.op_type].output == "input":
                    if len(scheme.data_inputs(node)) > 1:
                        return describe(node), _is_given_out(node.outputs)
                    waiting.extend(node.outputs)
        return None


#: Operators with a negative tail.
_SWISHES = frozenset({"HardSwish", "Gelu", "Swish", "Mish"})


def _is_gate(node: ir.Node) -> bool:
    """Tells whether a node multiplies x by a sigmoid of x."""
    if node.op_type != "Mul":
        return False
    for gate, value in (node.inputs[:2], node.inputs[1::-1]):
        sigmoid = None if gate is None else gate.producer()
        if sigmoid is not None and sigmoid.op_type in {"Sigmoid", "HardSigmoid"} and sigmoid.inputs[0] is value:
            return True
    return False


def _is_given_out(values: Sequence[ir.Value]) -> bool:
    """Tells whether a graph output contains one of the values, at most moved."""
    waiting = [*values]
    while waiting:
        value = waiting.pop()
        if value.is_graph_output():
            return True
        for use in value.uses():
            if use.node.op_type in scheme.OPERATORS and scheme.OPERATORS[use.node.op_type].output == "input":
                waiting.extend(use.node.outputs)
    return False


def _spread(peaks: npt.NDArray[np.float32]) -> float:
    alive = peaks[peaks > 0]
    return float(alive.max() / np.median(alive)) if alive.size > 1 else 1.0
