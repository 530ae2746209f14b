"""Binds the dynamic dimensions of a prepared graph to sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript import optimizer

from edgecomp.graph.border import write_inputs
from edgecomp.graph.freedom import NotGeneralError
from edgecomp.graph.query import ANY_SIZE_KEY, SIZED_KEY, shape_of
from edgecomp.model import CompressedModel


def bind(model: CompressedModel, sizes: Mapping[str, int] | None = None, *, general: bool = False) -> CompressedModel:
    """The static model at some sizes of the dynamic dimensions; by default at the example sizes.

    Args:
        model: Any; a static one is given back.
        sizes: The sizes of the dynamic dimensions.
        general: Whether what `dynamic` leaves computed, by its rule 1, stays computed, so that the models for several
            sizes are alike.
    """
    shapes = model.dynamic
    if shapes is None:
        return model
    graph = model.graph.clone()
    write_inputs(graph.graph, shapes.at(sizes))
    with np.errstate(all="ignore"):  # masks are made of infinities
        optimizer.fold_constants_ir(
            graph,
            onnx_shape_inference=True,
            output_size_limit=1 << 62,
            should_fold=lambda node: not (general and SIZED_KEY in node.metadata_props),
        )
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
    common.RemoveUnusedNodesPass()(graph)
    common.ShapeInferencePass()(graph)
    if general:
        _mark_any_size(graph.graph, model.graph.graph)
    return replace(model, graph=graph, dynamic=None)


def bind_prepared(model: CompressedModel) -> list[CompressedModel]:
    """The static models at the sizes that a graph with dynamic dimensions is prepared at.

    Raises:
        NotGeneralError: A tensor has one size in all of them, and another in the example, which is not among them:
            nothing tells how it changes.
    """
    shapes = model.dynamic
    assert shapes is not None, "what is static is prepared at one size"
    bound = [bind(model, sizes, general=True) for sizes in shapes.prepared]
    found = [_known_shapes(each) for each in bound]
    for name, shape in _known_shapes(model).items():
        sizes = [each[name] for each in found if name in each]
        for axis, (here, *others) in enumerate(zip(shape, *sizes, strict=False)):
            if len(set(others)) == 1 and here != others[0]:
                raise NotGeneralError(
                    f"axis {axis} of {name!r} has the size {here} in the example, and {others[0]} at all others tried"
                )
    return bound


def _known_shapes(model: CompressedModel) -> dict[str, tuple[int, ...]]:
    return {
        value.name or "": shape_of(value)
        for value in _values(model.graph.graph)
        if value.shape is not None and value.shape.is_static()
    }


def _values(graph: ir.Graph) -> list[ir.Value]:
    """The inputs of a graph, and what its nodes give."""
    return [*graph.inputs, *(value for node in graph for value in node.outputs)]


def _mark_any_size(graph: ir.Graph, example: ir.Graph) -> None:
    """Marks the axes of every node's first input that have not the size that they have in the example."""
    known = {value.name: value.shape for value in _values(example)}
    for node in graph:
        source = node.inputs[0] if node.inputs else None
        usual = None if source is None else known.get(source.name)
        here = usual if source is None or source.shape is None else source.shape
        if here is None:
            continue
        pairs = enumerate(zip(here, usual or (None,) * len(here), strict=True))
        differing = [axis for axis, (size, other) in pairs if size is None or size != other]
        if differing:
            node.metadata_props[ANY_SIZE_KEY] = " ".join(map(str, differing))
