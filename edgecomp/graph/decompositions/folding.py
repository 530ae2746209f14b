"""Decomposes Col2Im into a transposed convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable


def col2im(pieces: Pieces) -> Sequence[ir.Value | None]:
    """Col2Im, PyTorch's Fold: lays blocks on an image and adds up values that overlap.

    A transposed convolution does the same, with one kernel per position in a block that is 1 there and 0 elsewhere. All
    channels are folded alike, so they become part of the batch.
    """
    columns = pieces.input(0)
    image, block = ([int(size) for size in pieces.constant_input(index)] for index in (1, 2))
    batch, rows, _ = pieces.shape(columns)
    places = math.prod(block)
    ones = [1] * len(image)
    strides, dilations = (list(pieces.node.attributes.get_ints(name, ones)) for name in ("strides", "dilations"))
    pads = list(pieces.node.attributes.get_ints("pads", [0, 0] * len(image)))
    padded = [size + low + high for size, low, high in zip(image, pads[: len(image)], pads[len(image) :], strict=True)]
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(block, dilations, strict=True)]
    counts = [(size - far) // step + 1 for size, far, step in zip(padded, reach, strides, strict=True)]
    rest = [(size - far) % step for size, far, step in zip(padded, reach, strides, strict=True)]
    if columns.dtype != ir.DataType.FLOAT:
        raise Undecomposable(f"its numbers are {columns.dtype}")
    blocks = pieces.reshape(columns, (batch * rows // places, places, *counts))
    folded = pieces(
        "ConvTranspose",
        blocks,
        np.eye(places, dtype=np.float32).reshape(places, 1, *block),
        strides=strides,
        dilations=dilations,
        pads=pads,
        output_padding=rest,
        kernel_shape=block,
    )
    return [pieces.reshape(folded, (batch, rows // places, *image))]


DECOMPOSITIONS: dict[str, Decomposition] = {"Col2Im": col2im}
