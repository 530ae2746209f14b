"""Rules for indices: MNN does not count negative ones from the end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.converters.mnn.rewriting import Rewriting, sizes_of
from edgecomp.graph.query import constant


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
