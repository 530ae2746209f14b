"""Rounding to a grid whose step size is learned (LSQ: Esser et al., 2020).

With q = clip(round(x / s) + z, low, high), the result is s (q - z). Gradients ignore the rounding: x has gradient 1
where nothing is clipped and 0 elsewhere; s has (q - z) - x / s where nothing is clipped, and q - z elsewhere. The zero
point stays as calibrated. The trained parameter is the logarithm of s / s0: one learning rate then suits steps of any
size, no step becomes negative, and s is exactly s0 before training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from edgecomp.quantization.parameters import INTEGER_RANGE, QuantizationParameters

Tensor = torch.Tensor


class LearnedRounding(torch.nn.Module):
    """Rounds tensors to a quantization grid.

    Args:
        parameters: The initial step size; zero point and integer type stay.
        learned: Whether the step size is trained.
        narrow: Whether the lowest integer is left out, as for weights.
    """

    first_scale: Tensor
    zero_point: Tensor

    def __init__(self, parameters: QuantizationParameters, *, learned: bool = True, narrow: bool = False) -> None:
        super().__init__()
        self._low, self._high = INTEGER_RANGE[parameters.dtype]
        self._low += narrow
        self._axis = parameters.axis
        self.register_buffer("first_scale", torch.from_numpy(np.array(parameters.scale)))
        self.register_buffer("zero_point", torch.from_numpy(np.array(parameters.zero_point)))
        self._zero = int(parameters.zero_point) if parameters.axis is None else 0
        self.log_ratio = torch.nn.Parameter(torch.zeros(parameters.scale.shape), requires_grad=learned)

    @property
    def scale(self) -> Tensor:
        """The current step size, shape () or (channels,)."""
        scale: Tensor = self.first_scale * self.log_ratio.exp()
        return scale

    @property
    def range(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest value of the grid, for each channel."""
        scale = self.scale.detach()
        return scale * (self._low - self.zero_point), scale * (self._high - self.zero_point)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the nearest values of the grid, in the shape of `inputs`."""
        if self._axis is None:
            return _per_tensor(inputs.float(), self.scale, self._low - self._zero, self._high - self._zero)
        return _per_channel(inputs, self.scale, self.zero_point, self._axis, self._low, self._high)[0]


class _PerTensor(torch.autograd.Function):
    """One step size for all elements. Memory traffic dominates: four passes forward, five backward, no stored mask."""

    @staticmethod
    def forward(inputs: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        return torch.div(inputs, scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        source, scale, low, high = inputs
        ctx.save_for_backward(source, scale, output)
        ctx.damping = 1 / math.sqrt(source.numel() * (high - low) / 2)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        source, scale, rounded = ctx.saved_tensors
        # An element more than half a step away from its rounded value was clipped.
        into_source = slope * torch.sub(rounded, source).abs_().le_(0.5001 * scale)
        into_scale = None
        if ctx.needs_input_grad[1]:
            # slope * ((q - z) - inside * x / s), summed by two dot products over all elements.
            total = torch.dot(slope.flatten(), rounded.flatten()) - torch.dot(into_source.flatten(), source.flatten())
            into_scale = total / scale * ctx.damping
        return into_source, into_scale, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], inputs: Tensor, *others: Any) -> tuple[Any, Any]:
        return _per_tensor(inputs, *others), in_dims[0]


class _PerChannel(torch.autograd.Function):
    """One step size for each slice along an axis, for weights."""

    @staticmethod
    def forward(
        inputs: Tensor, scale: Tensor, zero_point: Tensor, axis: int, low: int, high: int
    ) -> tuple[Tensor, Tensor]:
        return torch.ops.aten.fake_quantize_per_channel_affine_cachemask(  # type: ignore[no-any-return]
            inputs, scale.detach(), zero_point, axis, low, high
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        source, scale, _, ctx.axis, _, high = inputs
        rounded, inside = output
        ctx.mark_non_differentiable(inside)
        ctx.save_for_backward(source, scale, rounded, inside)
        ctx.damping = 1 / math.sqrt(source.numel() / scale.numel() * high)

    @staticmethod
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        source, scale, rounded, inside = ctx.saved_tensors
        into_source = slope * inside
        into_scale = None
        if ctx.needs_input_grad[1]:
            others = [axis for axis in range(source.ndim) if axis != ctx.axis % source.ndim]
            total = (slope * rounded - into_source * source).sum(others) if others else slope * rounded
            into_scale = total / scale * ctx.damping
        return into_source, into_scale, None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], inputs: Tensor, *others: Any) -> tuple[Any, Any]:
        raise NotImplementedError("weights are the same for all samples")


_per_tensor: Callable[..., Tensor] = _PerTensor.apply
_per_channel: Callable[..., tuple[Tensor, Tensor]] = _PerChannel.apply
