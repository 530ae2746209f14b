"""The arithmetic of Resize by the ONNX specification: where elements lie in the source, and what weighs how much."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgecomp.arrays import Array

Positions = npt.NDArray[np.float64]


def source_positions(
    mode: str, before: int, after: int, scale: float, region: tuple[float, float] = (0.0, 1.0)
) -> Positions:
    """Where in the source each element of an axis lies.

    Args:
        mode: `coordinate_transformation_mode`.
        before: The size of the axis.
        after: The size of the result's axis.
        scale: The factor between them, as the node says it; it need not be exact.
        region: For "tf_crop_and_resize": the part of the axis that is read, as shares of its length.

    Returns:
        Positions in elements of the source, shape (after,); they may lie outside of it.

    Raises:
        ValueError: ONNX has no such mode.
    """
    position = np.arange(after, dtype=np.float64)
    match mode:
        case "asymmetric":
            return position / scale
        case "align_corners":
            return position * (before - 1) / max(after - 1, 1)
        case "pytorch_half_pixel" if after == 1:
            return position
        case "half_pixel" | "pytorch_half_pixel":
            return (position + 0.5) / scale - 0.5
        case "half_pixel_symmetric":
            return before / 2 * (1 - after / (scale * before)) + (position + 0.5) / scale - 0.5
        case "tf_half_pixel_for_nn":
            return (position + 0.5) / scale
        case "tf_crop_and_resize" if after == 1:
            return np.full(1, sum(region) / 2 * (before - 1))
        case "tf_crop_and_resize":
            return (region[0] + position * (region[1] - region[0]) / (after - 1)) * (before - 1)
        case _:
            raise ValueError(f"its coordinates are of the unknown kind {mode!r}")


def nearest_index(positions: Positions, mode: str, size: int) -> npt.NDArray[np.int64]:
    """The element of a source of `size` that is nearest to each position, by `nearest_mode`."""
    match mode:
        case "floor":
            index = np.floor(positions)
        case "ceil":
            index = np.ceil(positions)
        case "round_prefer_ceil":
            index = np.floor(positions + 0.5)
        case _:
            index = np.ceil(positions - 0.5)
    return np.clip(index, 0, size - 1).astype(np.int64)


def cubic_weight(distance: Array, a: float) -> Array:
    """Keys' cubic convolution (1981): what an element at a distance weighs; `a` is `cubic_coeff_a`."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))
