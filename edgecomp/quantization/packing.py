"""Packs 4-bit integers into bytes: two in each, the first one in the lower half, as ONNX and TFLite both have it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgecomp.arrays import Array


def pack_int4(integers: Array) -> npt.NDArray[np.uint8]:
    """Packs integers from -8 to 15, of which the lower 4 bits count.

    Args:
        integers: Any shape; read in memory order.

    Returns:
        A vector of (size + 1) // 2 bytes; the last half of an odd one is 0.
    """
    flat = np.ascontiguousarray(integers).reshape(-1).astype(np.uint8) & np.uint8(15)
    if len(flat) % 2:
        flat = np.append(flat, np.uint8(0))
    return np.asarray(flat[0::2] | (flat[1::2] << 4), np.uint8)


def unpack_int4(packed: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.int8]:
    """The first `count` signed integers of what `pack_int4` gave."""
    nibbles = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1)[:count].astype(np.int8)
    return ((nibbles ^ 8) - 8).astype(np.int8)
