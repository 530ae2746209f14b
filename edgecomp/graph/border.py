"""Writes the shapes of a graph's inputs and outputs, fixed or dynamic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgecomp.graph.query import shape_of
from edgecomp.interface import Interface
from edgecomp.shapes import InputShapes


def write_inputs(graph: ir.Graph, inputs: Mapping[str, Sequence[int | str]]) -> None:
    """Gives the inputs these shapes and forgets those of all that is computed, in place."""
    for node in graph.all_nodes():
        for value in node.outputs:
            value.shape = None
    for value in graph.inputs:
        if (shape := inputs.get(value.name or "")) is not None:
            value.shape = ir.Shape(shape)


def write_static_shapes(model: ir.Model, inputs: Mapping[str, tuple[int, ...]]) -> None:
    """Gives every value the shape that it has where the inputs have these, in place."""
    write_inputs(model.graph, inputs)
    common.ShapeInferencePass()(model)


def border_shape(value: ir.Value, shapes: InputShapes | None) -> tuple[int | None, ...]:
    """The shape of an input or output as an artifact describes it: None where it is dynamic."""
    if shapes is None:
        return shape_of(value)
    known = {**shapes.inputs, **shapes.outputs}[value.name or ""]
    return tuple(size if isinstance(size, int) else None for size in known)


def restricted(interface: Interface, shapes: InputShapes | None) -> Interface:
    """An interface that says what the dynamic sizes have to be multiples of, and which are the smallest."""
    if shapes is None:
        return interface
    inputs = tuple(
        replace(each, multiples=shapes.multiples_of(each.name), smallest=shapes.smallest_of(each.name))
        for each in interface.inputs
    )
    return replace(interface, inputs=inputs)


def loosen(model: ir.Model, shapes: InputShapes | None) -> None:
    """Writes dynamic dimensions to inputs and outputs, in place; what lies between keeps only its type.

    Args:
        model: Its values have the shapes that belong to the example sizes.
        shapes: The shapes of its inputs and outputs; with None everything stays as it is.
    """
    if shapes is None:
        return
    write_inputs(model.graph, shapes.inputs)
    for value in model.graph.outputs:
        if (shape := shapes.outputs.get(value.name or "")) is not None:
            value.shape = ir.Shape(shape)
