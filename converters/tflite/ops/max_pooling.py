"""Max pools: one operator, or comparisons of slices for dilated windows and for indices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.elementwise import computed, options_of
from edgecomp.converters.tflite.ops.reduction import reduce
from edgecomp.converters.tflite.ops.windows import (
    Window,
    emit_image,
    explicitly_padded,
    give_image,
    image,
    lowest,
    padded,
    pool_options,
    window_of,
)


def max_pool(operation: Operation) -> None:
    """MaxPool -> MAX_POOL_2D; padding has the lowest value of the type."""
    window = window_of(operation.node, operation.node.attributes.get_ints("kernel_shape", []) or [])
    tensor = image(operation)
    if len(operation.node.outputs) > 1 and operation.is_used(1):
        _with_indices(operation, tensor, window)
    elif window.dilations != (1, 1):
        _dilated(operation, tensor, window)
    else:
        source, padding = padded(operation, tensor, window, fill=lowest(tensor))
        emit_image(operation, "MAX_POOL_2D", [source], pool_options(window, padding))


def _framed(operation: Operation, tensor: Tensor, window: Window) -> Tensor:
    return explicitly_padded(operation, tensor, window, lowest(tensor)) if window.is_padded() else tensor


def _outputs(window: Window, framed: Tensor) -> tuple[int, int]:
    """Returns height and width of the result."""
    height, width = (
        (size - extent) // stride + 1
        for size, extent, stride in zip(framed.shape[1:3], window.extents(), window.strides, strict=True)
    )
    return height, width


def _taken(
    operation: Operation, framed: Tensor, begins: Sequence[int], counts: Sequence[int], steps: Sequence[int]
) -> Tensor:
    """Takes `counts` rows and columns, from `begins` on, at distances of `steps`."""
    batch, _, _, channels = framed.shape
    ends = [begin + (count - 1) * step + 1 for begin, count, step in zip(begins, counts, steps, strict=True)]
    bounds = [
        operation.lowering.integers(numbers, "bounds")
        for numbers in ([0, *begins, 0], [batch, *ends, channels], [1, *steps, 1])
    ]
    result = operation.temporary(framed, (batch, *counts, channels), "taken")
    operation.emit("STRIDED_SLICE", [framed, *bounds], [result], options_of("STRIDED_SLICE"))
    return result


def _dilated(operation: Operation, tensor: Tensor, window: Window) -> None:
    """Computes the maximum over the rows of a window, then over its columns."""
    framed = _framed(operation, tensor, window)
    counts = _outputs(window, framed)
    # Columns stay as they are while rows are compared.
    rows = _largest(operation, framed, window, 0, (counts[0], framed.shape[2]))
    give_image(operation, _largest(operation, rows, window, 1, counts))


def _largest(operation: Operation, source: Tensor, window: Window, axis: int, counts: tuple[int, int]) -> Tensor:
    """Computes the maximum over the positions of the window along one axis."""
    steps, begins = [1, 1], [0, 0]
    steps[axis] = window.strides[axis]
    best = _taken(operation, source, begins, counts, steps)
    for place in range(1, window.kernel[axis]):
        begins[axis] = place * window.dilations[axis]
        best = _maximum(operation, best, _taken(operation, source, begins, counts, steps))
    return best


def _maximum(operation: Operation, left: Tensor, right: Tensor) -> Tensor:
    result = operation.temporary(left, suffix="largest")
    operation.emit("MAXIMUM", [left, right], [result], options_of("MAXIMUM"))
    return result


def _with_indices(operation: Operation, tensor: Tensor, window: Window) -> None:
    """Compares the window's positions one by one, and keeps the index of the largest value."""
    framed = _framed(operation, tensor, window)
    counts = _outputs(window, framed)
    best: Tensor | None = None
    where: Tensor | None = None
    for row, column in np.ndindex(*window.kernel):
        begins = (row * window.dilations[0], column * window.dilations[1])
        part = _taken(operation, framed, begins, counts, window.strides)
        places = operation.builder.constant("places", _places(operation, window, begins, counts, tensor.shape))
        if best is None or where is None:
            best, where = part, places
            continue
        larger = computed(operation, "GREATER", part, best, dtype="bool")
        best, where = _maximum(operation, best, part), computed(operation, "SELECT_V2", larger, places, where)
    assert best is not None
    assert where is not None
    batch, height, width, channels = tensor.shape
    planes = np.arange(batch * channels, dtype=np.int32).reshape(batch, 1, 1, channels) * height * width
    where = computed(operation, "ADD", where, operation.builder.constant("planes", planes))
    give_image(operation, best)
    give_image(operation, operation.cast(where, "int64"), 1)


def _places(
    operation: Operation, window: Window, begins: Sequence[int], counts: Sequence[int], shape: Sequence[int]
) -> npt.NDArray[np.int32]:
    """Returns one position of every window as an index into its plane; padding is never the largest."""
    row, column = (
        np.arange(count) * stride + begin - pad
        for count, stride, begin, pad in zip(counts, window.strides, begins, window.begins, strict=True)
    )
    _, height, width, _ = shape
    by_columns = bool(operation.node.attributes.get_int("storage_order", 0))
    places = column * height + row[:, None] if by_columns else row[:, None] * width + column
    return places.astype(np.int32)[None, :, :, None]


def global_max_pool(operation: Operation) -> None:
    """GlobalMaxPool -> REDUCE_MAX over the spatial dimensions."""
    reduce(operation, "REDUCE_MAX", tuple(range(2, len(operation.shape(0)))), keep=True)


LOWERINGS: dict[str, LoweringFunction] = {"GlobalMaxPool": global_max_pool, "MaxPool": max_pool}
