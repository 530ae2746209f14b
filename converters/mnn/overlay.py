"""Rewrites a graph with dynamic dimensions for MNN: at several sizes, the results laid over each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgecomp.converters.mnn.lowering import lower
from edgecomp.converters.mnn.rewriting import Rewriting
from edgecomp.graph.binding import bind
from edgecomp.graph.border import loosen, write_static_shapes
from edgecomp.graph.freedom import NotGeneralError, choose
from edgecomp.graph.merging import merge
from edgecomp.graph.query import shape_of
from edgecomp.model import CompressedModel
from edgecomp.shapes import InputShapes


def lower_any(model: CompressedModel) -> tuple[Rewriting, InputShapes | None, tuple[str, ...]]:
    """`lower` for any model.

    Returns:
        The rewritten graph, the dimensions that are dynamic in it, and notes for the user.
    """
    shapes = model.dynamic
    if shapes is None:
        return lower(model), None, ()
    choice = choose(lambda each: _lower_dynamic(model, each), shapes, restrictable=shapes.odd)
    notes = choice.notes("The .mnn file", ", give --shape for another size", shapes.example)
    if choice.result is None:
        return lower(bind(model)), None, notes
    return choice.result, choice.shapes, notes


def _lower_dynamic(model: CompressedModel, shapes: InputShapes) -> Rewriting:
    model = replace(model, dynamic=shapes)
    static = [bind(model, sizes, general=True) for sizes in shapes.prepared]
    unsettled = _unsettled([each.graph.graph for each in static])
    variants = [lower(each, unsettled) for each in static]
    if any(variant.problems for variant in variants):
        raise NotGeneralError("MNN lacks an operator that it takes at every size")
    first = variants[0]
    for variant in variants:
        common.ShapeInferencePass()(variant.model)
    merge([variant.model.graph for variant in variants])
    write_static_shapes(first.model, shapes.at())
    loosen(first.model, shapes)
    return first


def _unsettled(graphs: Sequence[ir.Graph]) -> dict[str | None, frozenset[int]]:
    """Tensor name -> the axes along which it has not the same size in all graphs."""
    shapes: dict[str | None, list[tuple[int, ...]]] = {}
    for graph in graphs:
        for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
            if value.shape is not None and value.shape.is_static():
                shapes.setdefault(value.name, []).append(shape_of(value))
    return {
        name: frozenset(axis for axis, sizes in enumerate(zip(*found, strict=False)) if len(set(sizes)) > 1)
        for name, found in shapes.items()
    }
