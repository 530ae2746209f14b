"""The numbers that say how a tensor is stored as integers, and the two functions that apply them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgecomp.arrays import Array

IntegerType = Literal["int4", "int8", "int16", "int32", "int64"]
#: Makes an array of another one's elements.
Change = Callable[[Array], Array]

#: The integers that a tensor of each type may take. Weights stay within [-127, 127] (see `scheme`).
INTEGER_RANGE: dict[IntegerType, tuple[int, int]] = {
    "int4": (-8, 7),
    "int8": (-128, 127),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
    # Of a bias that meets int16 activations; an accumulator has 40 bits.
    "int64": (-(2**39), 2**39 - 1),
}


@dataclass(frozen=True)
class QuantizationParameters:
    """real = scale * (integer - zero_point), elementwise, per slice along `axis`, or per block within a slice.

    Attributes:
        scale: float32, shape () per tensor, (channels,) per channel, or (channels, blocks) for a matrix in blocks;
            positive and finite.
        zero_point: int32, the shape of `scale`.
        dtype: The stored integer type. Arrays of int4 are numpy arrays of int8.
        axis: The dimension that the channels run along, or None per tensor.
        block: How many neighbours along the other dimension of a matrix share a scale; None for all of them.
    """

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int32]
    dtype: IntegerType = "int8"
    axis: int | None = None
    block: int | None = None

    def __post_init__(self) -> None:
        scale = np.asarray(self.scale, np.float32)
        zero_point = np.broadcast_to(np.asarray(self.zero_point, np.int32), scale.shape).copy()
        if scale.ndim != (self.axis is not None) + (self.block is not None):
            raise ValueError(f"a scale of shape {scale.shape} does not go with axis={self.axis} and block={self.block}")
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError("a scale must be positive and finite")
        scale.setflags(write=False)
        zero_point.setflags(write=False)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", zero_point)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, QuantizationParameters)
            and (self.dtype, self.axis, self.block) == (other.dtype, other.axis, other.block)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    def __hash__(self) -> int:
        return hash((self.dtype, self.axis, self.block, self.scale.tobytes(), self.zero_point.tobytes()))

    @property
    def per_channel(self) -> bool:
        """Whether each slice along `axis` has its own scale."""
        return self.axis is not None

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and largest real number that a per-tensor quantized tensor can hold."""
        low, high = INTEGER_RANGE[self.dtype]
        scale, zero_point = float(self.scale), int(self.zero_point)
        return scale * (low - zero_point), scale * (high - zero_point)

    def quantize(self, real: npt.ArrayLike) -> npt.NDArray[np.signedinteger]:
        """Rounds half to even and saturates, as ONNX QuantizeLinear does.

        Args:
            real: Array of any float dtype; its dimension `axis` has as many slices as `scale`.

        Returns:
            Array of the same shape and dtype `self.dtype`, int8 for int4.
        """
        array = np.asarray(real)
        # A division in float32, not a product with 1/scale: the runtimes divide, and ties would fall otherwise.
        # Biases need float64, since float32 holds integers exactly only up to 2**24.
        wide = np.float64 if self.dtype in {"int32", "int64"} else np.float32
        scale, zero_point = self._broadcast(array.shape)
        low, high = INTEGER_RANGE[self.dtype]
        integers = np.rint(array.astype(wide) / scale.astype(wide)) + zero_point
        stored: npt.NDArray[np.signedinteger] = np.clip(integers, low, high).astype(
            "int8" if self.dtype == "int4" else self.dtype
        )
        return stored

    def dequantize(self, integers: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The real numbers that `integers` stand for, as float32 of the same shape."""
        array = np.asarray(integers)
        scale, zero_point = self._broadcast(array.shape)
        return ((array.astype(np.float64) - zero_point) * scale).astype(np.float32)

    def follow(self, shape: tuple[int, ...], change: Change) -> QuantizationParameters:
        """The parameters of what a change that only moves elements makes of an array: a part, a transposed one.

        Args:
            shape: Of the array that these are the parameters of; they have no blocks.
            change: What is made of it. A slice along one dimension of the result comes from one channel.
        """
        if self.axis is None:
            return self
        wide = [1] * len(shape)
        wide[self.axis] = -1
        channels = change(np.broadcast_to(np.arange(len(self.scale)).reshape(wide), shape))
        firsts = [np.moveaxis(channels, axis, 0).reshape(size, -1)[:, 0] for axis, size in enumerate(channels.shape)]
        axis = next((axis for axis, first in enumerate(firsts) if (first != first[0]).any()), None)
        along = channels.flat[0] if axis is None else firsts[axis]
        return QuantizationParameters(self.scale[along], self.zero_point[along], self.dtype, axis)

    def _broadcast(self, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        if self.axis is None:
            return self.scale, self.zero_point
        if self.block is not None:
            scale, zero_point = (np.repeat(self.scale, self.block, 1), np.repeat(self.zero_point, self.block, 1))
            return (scale, zero_point) if self.axis == 0 else (scale.T, zero_point.T)
        wide = [1] * len(shape)
        wide[self.axis] = -1
        return self.scale.reshape(wide), self.zero_point.reshape(wide)
