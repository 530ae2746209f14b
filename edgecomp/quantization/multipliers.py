"""What kernels can compute with: ratios of scales as an integer and a shift, zero points as whole accumulator steps.

The ratio is input scale x weight scale / output scale: how many steps of the output a step of the accumulator is.

XNNPACK takes ratios from 2**-32 to below 2**8 and refuses a model with any other, where TFLite's own kernels, ONNX
Runtime and MNN take it. So scales are chosen that all of them take:

1. Where the ratio would be too small, the weight's scale is raised: weights so small move the output by no step.
2. Where it would be too large, the output's scale is raised. Each step of the accumulator is hundreds of steps of the
   output then, so that the output takes two or three different values, whatever its scale is.
3. MNN's depthwise kernel adds the output's zero point to the bias, cut off to whole steps of the accumulator, which
   moves sums near the middle between two steps of the output to the next one. So the weight's scale is raised until
   the zero point is a whole number of such steps: by a sixteenth at most, mostly by a thousandth. The number is odd,
   as no sum is in the very middle then, where runtimes round differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.graph.query import required_constant
from edgecomp.quantization import scheme
from edgecomp.quantization.groups import Group
from edgecomp.quantization.parameters import QuantizationParameters

#: XNNPACK refuses below 2**-32 and from 2**8 on.
SMALLEST, LARGEST = 2.0**-28, 255.0

#: Where a zero point is fewer steps of the accumulator, rule 3 would make weights coarser than it is worth.
_FEW_STEPS = 32
#: How far beyond the whole number it is put, and as a share of that: more than MNN's float32 loses on the way.
_BEYOND, _BEYOND_SHARE = 1e-3, 5e-7


def raise_weight_scale(scale: npt.NDArray[np.float64], source: float, target: float) -> npt.NDArray[np.float64]:
    """Rule 1.

    Args:
        scale: The scale of the weight, any shape.
        source: The input's scale.
        target: The output's scale.
    """
    return np.maximum(scale, SMALLEST * target / source)


def raise_to_whole_zero_point(
    scale: npt.NDArray[np.float64], source: QuantizationParameters, target: QuantizationParameters
) -> npt.NDArray[np.float64]:
    """Rule 3; what was raised before stays as it is, whatever float32 made of it.

    Args:
        scale: The scale of a depthwise convolution's weight, any shape.
        source: The input's parameters.
        target: The output's.
    """
    steps = np.abs(float(target.zero_point)) * float(target.scale) / (float(source.scale) * scale)
    whole = np.floor(steps * (1 - 0.75 * _BEYOND_SHARE) - 0.75 * _BEYOND)
    odd = whole - (whole % 2 == 0)
    beyond = odd * _BEYOND_SHARE + _BEYOND
    stays = (steps < _FEW_STEPS) | (steps - odd <= 1.25 * beyond)
    return np.where(stays, scale, scale * steps / np.maximum(odd + beyond, 1))


def raise_output_scales(graph: ir.Graph, groups: Sequence[Group], table: dict[str, QuantizationParameters]) -> int:
    """Rule 2, from the inputs to the outputs, since each raised scale raises the ratios of what reads it.

    Args:
        graph: In topological order.
        groups: Tensors that share parameters.
        table: The parameters of the activations, changed in place.

    Returns:
        How many groups were raised.
    """
    group_of = {name: group for group in groups for name in group.members}
    raised = set()
    for node in scheme.quantizable_nodes(graph):
        if not scheme.has_constant_weight(node) or node.inputs[0] is None or node.inputs[0].name not in table:
            continue
        group = group_of.get(node.outputs[0].name or "")
        if group is None or group.fixed is not None:
            continue
        parameters = table[group.members[0]]
        weight_scale = float(np.abs(required_constant(node.inputs[1])).max(initial=0.0)) / 127
        least = float(table[node.inputs[0].name].scale) * weight_scale / LARGEST
        if least > float(parameters.scale):
            table |= dict.fromkeys(group.members, replace(parameters, scale=np.asarray(least, np.float32)))
            raised.add(id(group))
    return len(raised)
