"""Prepares a graph with dynamic dimensions, by preparing it at several sizes as if each were fixed.

Every pass, fusion and decomposition sees static shapes only and may write what it finds into constants. The results at
three sizes are then laid over each other (see `merging`), so that what differs is computed. The rules are:

1. Whole numbers that follow from shapes alone are constants at each size. What else follows from shapes, a mask or a
   slice of a table, stays computed, since its constant would have another shape at every size.
2. A dimension whose graphs cannot be merged is fixed at its example size, and a note says why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgecomp.arrays import Array
from edgecomp.graph.border import write_inputs, write_static_shapes
from edgecomp.graph.freedom import NotGeneralError, choose
from edgecomp.graph.merging import merge
from edgecomp.graph.query import SIZED_KEY
from edgecomp.graph.simplify import simplify
from edgecomp.graph.sizes import Numbers, bindings, is_short, is_whole
from edgecomp.graph.values import add_constant
from edgecomp.model import CompressedModel, Step
from edgecomp.shapes import InputShapes, evenness


def simplify_dynamic(model: CompressedModel, examples: Sequence[Array]) -> CompressedModel:
    """`simplify` for a model with dynamic dimensions.

    Args:
        model: Its `dynamic` names dimensions; its graph's inputs have them as symbols.
        examples: One array per input, at the example sizes.

    Returns:
        A model whose graph holds for every size of the dimensions that are left in `dynamic`, or for any when that is
        None. The step's fact "notes" has a sentence for every dimension that had to be fixed.
    """
    shapes = model.dynamic
    assert shapes is not None, "what is static goes through simplify"
    even = [name for name, size in shapes.example.items() if evenness(size) > 1]
    choice = choose(lambda each: _generalize(model, examples, each), shapes, restrictable=even)
    notes = choice.notes("The simplified graph", ", give --shape for another size", shapes.example)
    if choice.result is None:
        static = shapes.with_fixed(shapes.example)
        prepared = simplify(replace(_fixed(model, static), dynamic=None))
    else:
        prepared = choice.result
    *before, last = prepared.provenance
    return replace(prepared, provenance=(*before, Step(last.name, last.settings, {**last.facts, "notes": notes})))


def _generalize(model: CompressedModel, examples: Sequence[Array], shapes: InputShapes) -> CompressedModel:
    loose = _fixed(model, shapes)
    common.InlinePass()(loose.graph)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(loose.graph)
    common.ShapeInferencePass()(loose.graph)
    sized = _sized_values(loose.graph.graph)
    shapes, recorded = _try_out(loose.graph, examples, shapes, sized)
    sizes = shapes.prepared
    foldable = {name for name in sized if _is_shape_like([arrays[name] for arrays in recorded])}
    variants = [
        simplify(_at(loose, shapes.at(binding), {name: arrays[name] for name in foldable}, sized))
        for binding, arrays in zip(sizes, recorded, strict=True)
    ]
    merged = merge([variant.graph.graph for variant in variants])
    if any(set(variant.quantization) != set(variants[0].quantization) for variant in variants):
        raise NotGeneralError("other tensors are quantized at another size")
    outputs = {name: tuple(_symbol(numbers, shapes, sizes) for numbers in dims) for name, dims in merged.items()}
    found = replace(shapes, outputs=outputs)
    result = variants[0]
    write_static_shapes(result.graph, shapes.at())
    _look_up_shapes(result.graph, examples)
    return replace(result, dynamic=found)


def _look_up_shapes(model: ir.Model, examples: Sequence[Array]) -> None:
    """Runs a model on its examples for the shapes that inference does not find, as that of a Slice of computed size."""
    values = [value for node in model.graph for value in node.outputs if value.name and value.dtype is not None]
    unknown = [value for value in values if value.shape is None or not value.shape.is_static()]
    if not unknown:
        return
    found = _showing(model, {value.name or "" for value in unknown})(examples)
    for value in unknown:
        value.shape = ir.Shape(found[value.name or ""].shape)


def _showing(model: ir.Model, names: Collection[str]) -> Callable[[Sequence[Array]], dict[str, Array]]:
    """What gives a model's outputs and these values besides, by name, for inputs in its order.

    Raises:
        Exception: ONNX Runtime cannot load the model, or later run it; its exceptions have no base of their own.
    """
    from edgecomp.graph.session import Session

    shown = model.clone()
    wanted = set(names) - {value.name for value in shown.graph.outputs}
    shown.graph.outputs.extend(value for node in shown.graph for value in node.outputs if value.name in wanted)
    session = Session(shown)
    return lambda inputs: dict(zip(session.outputs, session.run(inputs), strict=True))


def _fixed(model: CompressedModel, shapes: InputShapes) -> CompressedModel:
    """A copy whose inputs have these shapes, with nothing known of what lies behind."""
    graph = model.graph.clone()
    write_inputs(graph.graph, shapes.inputs)
    return replace(model, graph=graph, dynamic=shapes)


# --- what follows from shapes alone -----------------------------------------------------------------------------------


def _sized_values(graph: ir.Graph) -> list[str]:
    """The values that follow from dynamic sizes and from nothing else, in topological order."""
    fed: set[ir.Value] = {value for value in graph.inputs if value.name not in graph.initializers}
    sized: dict[ir.Value, None] = {}
    for node in graph:
        sources = list(_sources(node))
        if node.op_type in {"Shape", "Size"} and node.domain == "":
            value = node.inputs[0]
            depends = value in fed or value in sized
            if depends and (value is None or value.shape is None or not value.shape.is_static()):
                sized.update(dict.fromkeys(node.outputs))
        elif any(value in fed for value in sources) or node.op_type.startswith("Random"):
            fed.update(node.outputs)
        elif any(value in sized for value in sources):
            sized.update(dict.fromkeys(node.outputs))
    return [value.name or "" for value in sized]


def _sources(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, also inside of its subgraphs."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph().all_nodes():
                yield from (value for value in inner.inputs if value is not None)


def _is_shape_like(arrays: Sequence[Array]) -> bool:
    return arrays[0].ndim <= 1 and is_short(arrays) and (arrays[0].dtype.kind == "b" or is_whole(arrays))


def _try_out(
    model: ir.Model, examples: Sequence[Array], shapes: InputShapes, sized: Sequence[str]
) -> tuple[InputShapes, list[dict[str, Array]]]:
    """Finds sizes that the model runs at: the shapes with these, and what `sized` and the outputs are at each."""
    try:
        show = _showing(model, sized)
    except Exception as error:
        raise NotGeneralError(
            f"ONNX Runtime cannot run the model, so nothing is known of other sizes: {error}"
        ) from None
    inputs = [value.name or "" for value in model.graph.inputs if value.name not in model.graph.initializers]

    def run(binding: Mapping[str, int]) -> dict[str, Array]:
        wanted = shapes.at(binding)
        return show([np.resize(array, wanted[name]) for name, array in zip(inputs, examples, strict=True)])

    failure = "there are no smaller sizes"
    even = frozenset(name for name, size in shapes.example.items() if size % 2 == 0) - set(shapes.multiples)
    for candidates in filter(None, (bindings(shapes.example, direction) for direction in (1, -1))):
        found = replace(shapes, bindings=tuple(candidates), odd=even)
        recorded, failure = _recorded(run, found.prepared)
        if recorded is None and even:
            names = (name for name in even if _recorded(run, replace(found, odd=frozenset([name])).prepared)[0])
            found = replace(found, odd=frozenset(names))
            recorded, failure = _recorded(run, found.prepared)
        if recorded is None and found.odd:
            found = replace(found, odd=frozenset())
            recorded, failure = _recorded(run, found.prepared)
        if recorded is not None:
            return found, recorded
    raise NotGeneralError(failure)


def _recorded(
    run: Callable[[Mapping[str, int]], dict[str, Array]], sizes: Sequence[Mapping[str, int]]
) -> tuple[list[dict[str, Array]] | None, str]:
    """What a model gives at each of some sizes; None when there is one that it does not run at, and what it is."""
    recorded = []
    for each in sizes:
        # ONNX Runtime's exceptions have no common base below Exception.
        try:
            recorded.append(run(each))
        except Exception as error:
            place = ", ".join(f"{name}={size}" for name, size in each.items())
            return None, f"the model does not run at {place}: {' '.join(str(error).split())[:200]}"
    return recorded, ""


def _at(
    model: CompressedModel, inputs: Mapping[str, tuple[int, ...]], known: Mapping[str, Array], sized: Iterable[str]
) -> CompressedModel:
    """Rule 1: the static model where the inputs have these shapes."""
    graph = model.graph.clone()
    write_inputs(graph.graph, inputs)
    values = {value.name: value for node in graph.graph for value in node.outputs}
    for name in sized:
        value = values[name]
        producer = value.producer()
        assert producer is not None, "what is sized is computed"
        if name not in known or value.is_graph_output():
            producer.metadata_props[SIZED_KEY] = ""
            continue
        value.replace_all_uses_with(add_constant(graph.graph, f"{name}/known", known[name]))
    return replace(model, graph=graph, dynamic=None)


def _symbol(numbers: Numbers, shapes: InputShapes, sizes: Sequence[Mapping[str, int]]) -> int | str | None:
    """What an output's dimension is called."""
    if len(set(numbers)) == 1:
        return numbers[0]
    names = (name for name in shapes.example if tuple(binding[name] for binding in sizes) == numbers)
    return next(names, None)
