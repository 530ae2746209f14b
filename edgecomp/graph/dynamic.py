"""Prepares a graph with dynamic dimensions, by preparing it at several sizes as if each were fixed.

Every pass, fusion and decomposition sees static shapes only and may write what it finds into constants. The results at
three sizes are then laid over each other: what differs is explained by the sizes of tensors (see `sizes`) and becomes
computed, and what cannot be explained names the dimension that has to be fixed. So the rules are:

1. Whole numbers that follow from shapes alone are constants at each size. What else follows from shapes, a mask or a
   slice of a table, stays computed, since its constant would have another shape at every size.
2. The graphs must be alike, node by node, but for whole-number constants of at most one dimension.
3. A Reshape copies a size (0) or leaves one to the runtime (-1) where that says it; elsewhere nodes compute the
   numbers from the shapes of tensors.
4. A dimension for which this fails is fixed at its example size, and a note says why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript import optimizer

from edgecomp.arrays import Array
from edgecomp.graph.border import write_inputs, write_static_shapes
from edgecomp.graph.freedom import NotGeneralError, choose
from edgecomp.graph.query import ANY_SIZE_KEY, SIZED_KEY, constant, describe, shape_of
from edgecomp.graph.simplify import simplify
from edgecomp.graph.size_nodes import SizeNodes
from edgecomp.graph.sizes import Expression, Numbers, bindings, explain
from edgecomp.graph.values import add_constant
from edgecomp.model import CompressedModel, Step
from edgecomp.shapes import InputShapes, evenness

Place = tuple[ir.Value, int]

#: Longer whole-number constants are data, not shapes.
_LONGEST = 64


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


def bind(model: CompressedModel, sizes: Mapping[str, int] | None = None, *, general: bool = False) -> CompressedModel:
    """The static model at some sizes of the dynamic dimensions; by default at the example sizes.

    Args:
        model: Any; a static one is given back.
        sizes: The sizes of the dynamic dimensions.
        general: Whether what rule 1 leaves computed stays computed, so that the models for several sizes are alike.
    """
    shapes = model.dynamic
    if shapes is None:
        return model
    graph = model.graph.clone()
    write_inputs(graph.graph, shapes.at(sizes))
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


def _mark_any_size(graph: ir.Graph, example: ir.Graph) -> None:
    """Marks the axes of every node's first input that have not the size that they have in the example."""
    known = {value.name: value.shape for value in (*example.inputs, *(v for node in example for v in node.outputs))}
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
    first = arrays[0]
    small = first.ndim <= 1 and first.size <= _LONGEST and all(array.shape == first.shape for array in arrays)
    return small and (first.dtype.kind == "b" or is_whole(arrays))


def is_whole(arrays: Sequence[Array]) -> bool:
    """Whether arrays hold whole numbers, in whatever type."""
    if arrays[0].dtype.kind == "f":
        return all(bool((np.abs(array) < 1 << 24).all() and (array == np.rint(array)).all()) for array in arrays)
    return arrays[0].dtype.kind == "i"


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


# --- laying graphs over each other ------------------------------------------------------------------------------------


def merge(graphs: Sequence[ir.Graph]) -> dict[str, tuple[Numbers, ...]]:
    """Turns the first of several static graphs, in place, into one that is equal to each at its size.

    Returns:
        Output name -> the numbers of each of its dimensions.

    Raises:
        NotGeneralError: By rule 2.
    """
    return _Merge(graphs).run()


@dataclass
class _Merge:
    """See `merge`."""

    graphs: Sequence[ir.Graph]

    def __post_init__(self) -> None:
        self._inputs: dict[Place, Numbers] = {}
        self._far: dict[Numbers, Place] = {}
        self._sizes: dict[ir.Value, tuple[Numbers, ...]] = {}
        self._nodes = SizeNodes(self.graphs[0])

    def run(self) -> dict[str, tuple[Numbers, ...]]:
        """Does it."""
        for values in zip(*(graph.inputs for graph in self.graphs), strict=True):
            self._learn(values)
        self._inputs = {place: numbers for numbers, place in self._far.items()}
        lists = [list(graph) for graph in self.graphs]
        if len({len(nodes) for nodes in lists}) > 1:
            raise NotGeneralError("the simplified graph has other nodes at another size")
        for nodes in zip(*lists, strict=True):
            self._check(nodes)
            for index in range(len(nodes[0].inputs)):
                self._merge_input(nodes, index)
            for values in zip(*(node.outputs for node in nodes), strict=True):
                self._learn(values)
        found = {}
        for values in zip(*(graph.outputs for graph in self.graphs), strict=True):
            if values[0] not in self._sizes:
                raise NotGeneralError(f"the shape of output {values[0].name!r} is unknown")
            found[str(values[0].name)] = self._sizes[values[0]]
        return found

    def _learn(self, values: Sequence[ir.Value]) -> None:
        """Notes the sizes of a value, for what comes behind it."""
        if any(value.shape is None or not value.shape.is_static() for value in values):
            return
        if len({len(shape_of(value)) for value in values}) > 1:
            raise NotGeneralError(f"{values[0].name!r} has another rank at another size")
        self._sizes[values[0]] = tuple(zip(*(shape_of(value) for value in values), strict=True))
        for axis, numbers in enumerate(self._sizes[values[0]]):
            if len(set(numbers)) > 1:
                self._far.setdefault(numbers, (values[0], axis))

    def _check(self, nodes: Sequence[ir.Node]) -> None:
        first = nodes[0]
        for other in nodes[1:]:
            alike = (
                (other.op_type, other.domain, len(other.inputs), len(other.outputs))
                == (first.op_type, first.domain, len(first.inputs), len(first.outputs))
            ) and [value.name for value in other.outputs] == [value.name for value in first.outputs]
            if not alike:
                raise NotGeneralError(f"at another size {describe(first)} is {describe(other)}")
            if not _same_attributes(first, other):
                raise NotGeneralError(f"the attributes of {describe(first)} depend on the size")

    def _merge_input(self, nodes: Sequence[ir.Node], index: int) -> None:
        values = [node.inputs[index] for node in nodes]
        arrays = [constant(value) for value in values]
        node = nodes[0]
        if all(array is None for array in arrays):
            if len({None if value is None else value.name for value in values}) > 1:
                raise NotGeneralError(f"{describe(node)} reads other tensors at another size")
            return
        constants = [array for array in arrays if array is not None]
        first = constants[0]
        if len(constants) == len(arrays) and all(_equal(first, array) for array in constants[1:]):
            return
        small = first.ndim <= 1 and first.size <= _LONGEST and all(array.shape == first.shape for array in constants)
        if len(constants) < len(arrays) or not small or not is_whole(constants):
            raise NotGeneralError(f"a constant of {describe(node)} depends on the size")
        numbers = [tuple(int(array.reshape(-1)[place]) for array in constants) for place in range(first.size)]
        node.replace_input_with(index, self._computed(node, index, first, numbers))

    def _computed(self, node: ir.Node, index: int, like: Array, numbers: Sequence[Numbers]) -> ir.Value:
        """Rule 3: the value for the whole numbers that `node` reads at `index`."""
        near = {
            (value, axis): each
            for value in node.inputs
            if value in self._sizes
            for axis, each in enumerate(self._sizes[value])
        }
        parts = [explain(each, near, self._inputs, self._far) for each in numbers]
        if node.op_type == "Reshape" and index == 1 and not node.attributes.get_int("allowzero", 0):
            parts = _shorten(parts, numbers, self._sizes.get(node.inputs[0]))  # type: ignore[arg-type]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            raise NotGeneralError(f"{describe(node)} has a constant whose dependence on the size is not understood")
        return self._nodes.read_by(node, known, like)


def _same_attributes(first: ir.Node, second: ir.Node) -> bool:
    if set(first.attributes) != set(second.attributes):
        return False
    pairs = [(attribute, second.attributes[name]) for name, attribute in first.attributes.items()]
    return all(ir.to_proto(left) == ir.to_proto(right) for left, right in pairs)


def _equal(first: Array, second: Array) -> bool:
    same = first is second or (first.shape == second.shape and first.dtype == second.dtype)
    return same and (first is second or first.tobytes() == second.tobytes())


def _shorten(
    parts: Sequence[Expression[Place] | None], numbers: Sequence[Numbers], source: Sequence[Numbers] | None
) -> list[Expression[Place] | None]:
    """Rule 3 for the target of a Reshape: zeros and -1 for the sizes that change."""
    copied, left_over = Expression[Place]((), 0, 0), Expression[Place]((), 0, -1)
    result = list(parts)
    for index, each in enumerate(numbers):
        if len(set(each)) > 1 and source is not None and source[index : index + 1] == (each,):
            result[index] = copied
    changing = [index for index, part in enumerate(result) if part is None or part.places]
    free = all(-1 not in each for each in numbers)
    if changing and free:
        result[next((index for index in changing if result[index] is None), changing[-1])] = left_over
    return result
