"""Converts a float graph to float16 with float32 inputs and outputs.

An operator becomes float16 if its schema allows that for its float inputs and outputs. Inputs with another fixed type
(the scales of a Resize) stay float32, and so do operators without a schema, with subgraphs, or marked to stay in float.
Casts are inserted where the two meet, each once.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from edgecomp.graph.border import loosen
from edgecomp.graph.query import constant, is_float
from edgecomp.graph.values import add_constant
from edgecomp.model import CompressedModel
from edgecomp.quantization.half import as_half
from edgecomp.quantization.scheme import stays_in_float

_HALF, _SINGLE = ir.DataType.FLOAT16, ir.DataType.FLOAT


def to_half(source: CompressedModel) -> ir.Model:
    """Returns the graph of a float32 model, computing in float16; its inputs and outputs keep their types."""
    model = source.graph.clone()
    graph = model.graph
    opset = graph.opset_imports.get("", 1)
    caster = _Caster(graph)
    outputs = list(graph.outputs)
    nodes = {node: half_places(node, opset) for node in graph}
    for node, places in nodes.items():
        if places is None:
            caster.read(node, frozenset(), captured=True)
            continue
        inputs, results = places
        caster.read(node, inputs)
        for index in results:
            # Do not set dtype: a clone shares the type object with its original.
            node.outputs[index].type = ir.TensorType(_HALF)
    for index, value in enumerate(outputs):
        if value.dtype == _HALF:
            caster.give(index, value)
    caster.drop_unread_constants()
    loosen(model, source.dynamic)
    return model


def half_places(node: ir.Node, opset: int) -> tuple[frozenset[int], frozenset[int]] | None:
    """Returns which inputs and outputs of a node can be float16; None if the node has to stay in float32.

    Args:
        node: A node of a float32 graph.
        opset: The opset of the default domain.
    """
    has_graph = any(attribute.type in _GRAPHS for attribute in node.attributes.values())
    # A Cast to integers may produce indices, which float16 represents exactly only below 2048.
    if node.domain not in {"", "ai.onnx"} or node.op_type == "Cast" or has_graph or stays_in_float(node):
        return None
    try:
        schema = onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError:
        return None
    if schema.deprecated:
        return None
    allowed = {entry.type_param_str: set(entry.allowed_type_strs) for entry in schema.type_constraints}
    inputs = _typed(list(node.inputs), list(schema.inputs))
    results = _typed(list(node.outputs), list(schema.outputs))
    variables = {name for _, name in inputs if name in allowed}
    if not variables or any("tensor(float16)" not in allowed[name] for name in variables):
        return None
    # The type of an output follows from an input; otherwise it comes from an attribute, which says float32.
    if any(name not in variables for _, name in results):
        return None
    return frozenset(i for i, name in inputs if name in variables), frozenset(i for i, _ in results)


_GRAPHS = frozenset({ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS})


def _typed(
    values: list[ir.Value] | list[ir.Value | None], formals: list[onnx.defs.OpSchema.FormalParameter]
) -> list[tuple[int, str]]:
    """Returns the float values with their types in the schema; the last formal parameter may be variadic."""
    return [
        (index, formals[min(index, len(formals) - 1)].type_str) for index, value in enumerate(values) if is_float(value)
    ]


class _Caster:
    """Gives each reader a value in the type that it needs, and inserts each Cast once."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def read(self, node: ir.Node, half: frozenset[int], *, captured: bool = False) -> None:
        """Lets a node read float16 at the inputs in `half`, and float32 elsewhere.

        Args:
            node: A node of the graph.
            half: Indices of inputs.
            captured: Whether to include what its subgraphs read from outside.
        """
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype in {_HALF, _SINGLE}:
                node.replace_input_with(index, self._as(value, _HALF if index in half else _SINGLE, node))
        if not captured:
            return
        for attribute in node.attributes.values():
            graphs = {ir.AttributeType.GRAPH: [attribute.value], ir.AttributeType.GRAPHS: attribute.value}
            for graph in graphs.get(attribute.type, []):
                self._read_inside(graph, node)

    def _read_inside(self, graph: ir.Graph, outside: ir.Node) -> None:
        for inner in ir.traversal.RecursiveGraphIterator(graph):
            for index, value in enumerate(inner.inputs):
                if value is not None and value.dtype == _HALF:
                    inner.replace_input_with(index, self._as(value, _SINGLE, outside))
        for index, value in enumerate(graph.outputs):
            if value.dtype == _HALF:
                graph.outputs[index] = self._as(value, _SINGLE, outside)

    def give(self, index: int, value: ir.Value) -> None:
        """Returns a float16 value as a float32 output of the same name."""
        name = value.name or ""
        node = ir.node("Cast", [value], {"to": int(_SINGLE)}, name=f"{name}/given")
        result = node.outputs[0]
        value.name, result.name = f"{name}/half", name
        result.shape, result.type = value.shape, ir.TensorType(_SINGLE)
        self._graph.append(node)
        self._graph.outputs[index] = result

    def _as(self, value: ir.Value, dtype: ir.DataType, reader: ir.Node) -> ir.Value:
        if value.dtype == dtype:
            return value
        key = (value, dtype)
        if key not in self._casts:
            self._casts[key] = self._stored(value) if constant(value) is not None else self._cast(value, dtype, reader)
        return self._casts[key]

    def _stored(self, value: ir.Value) -> ir.Value:
        array = constant(value)
        assert array is not None
        return add_constant(self._graph, f"{value.name}/half", as_half(array))

    def _cast(self, value: ir.Value, dtype: ir.DataType, reader: ir.Node) -> ir.Value:
        name = f"{value.name}/{'half' if dtype == _HALF else 'single'}"
        node = ir.node("Cast", [value], {"to": int(dtype)}, name=name)
        result = node.outputs[0]
        result.name, result.shape, result.type = name, value.shape, ir.TensorType(dtype)
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], node)
        else:
            self._graph.insert_after(producer, node)
        return result

    def drop_unread_constants(self) -> None:
        """Removes constants that are no longer read in float32."""
        for name, value in tuple(self._graph.initializers.items()):
            if not tuple(value.uses()) and not value.is_graph_output() and not value.is_graph_input():
                del self._graph.initializers[name]
