"""Rules for indices: MNN does not count negative ones from the end, nor go backwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.converters.mnn.rewriting import Rewriting, sizes_of
from edgecomp.graph.query import constant, input_of


def repair_elements(rewriting: Rewriting, node: ir.Node) -> None:
    """GatherElements: one axis is indexed."""
    sizes = sizes_of(node.inputs[0])
    if sizes is not None:
        _count_from_the_front(rewriting, node, np.array(sizes[node.attributes.get_int("axis", 0) or 0]))


def repair_slices(rewriting: Rewriting, node: ir.Node) -> None:
    """GatherND: the last axis of the indices holds one number per axis of the data."""
    sizes, places = sizes_of(node.inputs[0]), sizes_of(node.inputs[1])
    if sizes is not None and places is not None and places[-1] != -1:
        first = node.attributes.get_int("batch_dims", 0) or 0
        _count_from_the_front(rewriting, node, np.array(sizes[first : first + places[-1]]))


def _count_from_the_front(rewriting: Rewriting, node: ir.Node, sizes: npt.NDArray[np.int64]) -> None:
    index, name = node.inputs[1], f"{node.outputs[0].name}/index"
    if index is None or index.dtype is None or (sizes == -1).any():
        return
    array = constant(index)
    if array is not None:
        if (array < 0).any():
            node.replace_input_with(1, rewriting.constant(name, np.where(array < 0, array + sizes, array)))
        return
    dtype = index.dtype.numpy()
    zero = rewriting.constant(f"{name}/zero", np.zeros((), dtype))
    behind = rewriting.node(
        "Add", [index, rewriting.constant(f"{name}/sizes", sizes.astype(dtype))], f"{name}/end", None
    )
    negative = rewriting.node("Greater", [zero, index], f"{name}/negative", None)
    counted = rewriting.node("Where", [negative, behind, index], name, None)
    behind.dtype, negative.dtype, counted.dtype = index.dtype, ir.DataType.BOOL, index.dtype
    rewriting.insert(node, counted)
    node.replace_input_with(1, counted)


def repair_backwards(rewriting: Rewriting, node: ir.Node) -> None:
    """Slice that goes backwards along an axis where MNN does it wrongly; Gather does it right."""
    value, sizes = node.inputs[0], sizes_of(node.inputs[0])
    starts, ends, axes, steps = (constant(input_of(node, place)) for place in range(1, 5))
    if value is None or sizes is None or starts is None or ends is None or steps is None or (steps > 0).all():
        return
    places = range(len(starts)) if axes is None else axes.tolist()
    backwards = [axis for axis, step in zip(places, steps, strict=True) if step < 0]
    if any(sizes[axis] == -1 for axis in places) or not any(_is_reversed_wrongly(sizes, axis) for axis in backwards):
        return
    bounds = zip(starts.tolist(), ends.tolist(), steps.tolist(), strict=True)
    chosen = [(axis, list(range(sizes[axis])[slice(*each)])) for axis, each in zip(places, bounds, strict=True)]
    for axis, indices in chosen:
        name = f"{node.outputs[0].name}/axis{axis}"
        index = rewriting.constant(f"{name}/index", np.array(indices, np.int64))
        parameters = rewriting.quantization.get(value.name or "") if axis != places[-1] else None
        gathered = rewriting.node("Gather", [value, index], name, parameters, axis=axis)
        gathered.type = value.type
        value = gathered
    rewriting.replace(node, value)


def _is_reversed_wrongly(sizes: Sequence[int], axis: int) -> bool:
    """What MNN 3.6.1 was seen to do: it is right up to three dimensions, and where two others are larger than 1."""
    axis %= len(sizes)
    others = [size for place, size in enumerate(sizes) if size != 1 and place != axis]
    return len(sizes) > 3 and (axis == 0 or len(others) > 2)
