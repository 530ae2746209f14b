"""Operators with subgraphs: If -> IF, Loop -> WHILE.

A subgraph of a `.tflite` file cannot read tensors of the graph around it. Values that an ONNX subgraph reads from
outside therefore become its inputs; constants are copied into it. All inputs and outputs are in the source's layout, in
real form.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema
from onnxscript import optimizer

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.layout import identity
from edgecomp.converters.tflite.lowering import Lowering, Unsuited
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.graph.query import is_constant, shape_of, turns_of


def if_(operation: Operation) -> None:
    """If -> IF."""
    branches = [operation.node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    captured = _captured(branches)
    shapes = [shape_of(value) for value in operation.node.outputs]
    indices = []
    for branch in branches:
        if [shape_of(value) for value in branch.outputs] != shapes:
            raise Unsuited("the shapes of its results depend on its condition")
        inner = operation.lowering.inside()
        inputs = [_parameter(inner, value) for value in captured]
        inner.lower(branch)
        outputs = _results(inner, branch.outputs, inputs)
        indices.append(inner.builder.finish_subgraph(branch.name or "branch", inputs, outputs))
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = indices
    tensors = [_scalar(operation.lowering, operation.value(0)), *(_fetch(operation.lowering, v) for v in captured)]
    outputs = [operation.output(identity(len(shape)), index) for index, shape in enumerate(shapes)]
    operation.emit("IF", tensors, outputs, options)


def loop(operation: Operation) -> None:
    """Loop -> WHILE, over the counter, the condition, the carried, the collected and the captured values.

    Collected slices are written into a tensor with room for all of them, so their number has to be known.
    """
    node, body = operation.node, operation.node.attributes["body"].as_graph()
    carried = len(body.inputs) - 2
    collected = [shape_of(value) for value in node.outputs[carried:]]
    if not operation.has_input(0):
        raise Unsuited("it has no limit")
    if collected and turns_of(node) is None:
        raise Unsuited("how many slices it collects is not known beforehand")
    for before, after in zip(body.inputs[2:], body.outputs[1 : carried + 1], strict=True):
        if shape_of(before) != shape_of(after):
            raise Unsuited(f"the shape of {before.name} changes from turn to turn")
    limit = operation.value(0)
    captured = [value for value in _captured([body]) if value is not limit]
    captured += [] if is_constant(limit) else [limit]
    inside = _body(operation, body, carried, collected, captured)
    until = _until(operation, body, collected, captured)
    lowering = operation.lowering
    initial = [
        operation.builder.constant("first", np.array(0, np.int64)),
        _condition(operation),
        *(operation.input(index + 2, identity(len(operation.shape(index + 2)))) for index in range(carried)),
        *(_room(operation, shape, value) for shape, value in zip(collected, node.outputs[carried:], strict=True)),
        *(_fetch(lowering, value) for value in captured),
    ]
    results = [operation.temporary(tensor, suffix="end") for tensor in initial]
    for index, value in enumerate(node.outputs):
        results[index + 2] = operation.output(identity(len(shape_of(value))), index)
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = until, inside
    operation.emit("WHILE", initial, results, options)


def _body(
    operation: Operation,
    body: ir.Graph,
    carried: int,
    collected: Sequence[tuple[int, ...]],
    captured: Sequence[ir.Value],
) -> int:
    """Builds the subgraph of one turn."""
    inner = operation.lowering.inside()
    counter, running, *inputs = [_parameter(inner, value) for value in body.inputs]
    builder = inner.builder
    rooms = [
        builder.tensor(f"{value.name}/collected", shape, _dtype(value))
        for value, shape in zip(body.outputs[carried + 1 :], collected, strict=True)
    ]
    outside = [_parameter(inner, value) for value in captured]
    inner.lower(body)
    parameters = [counter, running, *inputs, *rooms, *outside]
    following = builder.tensor(f"{counter.name}/next", (), "int64")
    builder.operator(
        "ADD", [counter, builder.constant("one", np.array(1, np.int64))], [following], schema.AddOptionsT()
    )
    condition, *values = _results(inner, body.outputs, parameters)
    filled = [_written(inner, room, slice_, counter) for room, slice_ in zip(rooms, values[carried:], strict=True)]
    outputs = [following, condition, *values[:carried], *filled, *outside]
    return builder.finish_subgraph(body.name or "body", parameters, outputs)


def _until(
    operation: Operation, body: ir.Graph, collected: Sequence[tuple[int, ...]], captured: Sequence[ir.Value]
) -> int:
    """Builds the subgraph that decides whether there is another turn."""
    inner = operation.lowering.inside()
    builder = inner.builder
    counter, running, *others = [_parameter(inner, value) for value in body.inputs]
    carried = len(others)
    slices = body.outputs[carried + 1 :]
    others += [
        builder.tensor(f"{value.name}/collected", shape, _dtype(value))
        for value, shape in zip(slices, collected, strict=True)
    ]
    others += [_parameter(inner, value) for value in captured]
    below, both = (builder.tensor(f"{operation.node.name}/{name}", (), "bool") for name in ("below", "both"))
    builder.operator("LESS", [counter, _scalar(inner, operation.value(0))], [below], schema.LessOptionsT())
    builder.operator("LOGICAL_AND", [below, running], [both], schema.LogicalAndOptionsT())
    return builder.finish_subgraph(f"{body.name or 'body'}/condition", [counter, running, *others], [both])


def _written(inner: Lowering, room: Tensor, piece: Tensor, counter: Tensor) -> Tensor:
    """Replaces one slice of a tensor."""
    builder = inner.builder
    wide = inner.reshape(piece, (1, *piece.shape), f"{piece.name}/slice")
    first = builder.tensor(f"{room.name}/first", (1,), "int32")
    narrow = builder.tensor(f"{room.name}/counter", (), "int32")
    builder.operator("CAST", [counter], [narrow], schema.CastOptionsT())
    place = inner.reshape(narrow, (1,), first.name)
    if len(room.shape) > 1:
        start = builder.tensor(f"{room.name}/start", (len(room.shape),), "int32")
        options = schema.ConcatenationOptionsT()
        zeros = inner.integers([0] * (len(room.shape) - 1), "zeros")
        builder.operator("CONCATENATION", [place, zeros], [start], options)
        place = start
    result = builder.tensor(f"{room.name}/written", room.shape, room.dtype)
    builder.operator("DYNAMIC_UPDATE_SLICE", [room, wide, place], [result], schema.DynamicUpdateSliceOptionsT())
    return result


def _room(operation: Operation, shape: Sequence[int], value: ir.Value) -> Tensor:
    """Creates an empty tensor for the values that a loop collects."""
    dtype = _dtype(value)
    result = operation.builder.tensor(f"{value.name}/room", shape, dtype)
    zero = operation.builder.constant("zero", np.array(0, dtype))
    operation.emit("FILL", [operation.lowering.integers(shape, "shape"), zero], [result], schema.FillOptionsT())
    return result


def _condition(operation: Operation) -> Tensor:
    """Returns whether there is a first turn."""
    if operation.has_input(1):
        return _scalar(operation.lowering, operation.value(1))
    return operation.builder.constant("true", np.array(True))


def _captured(graphs: Sequence[ir.Graph]) -> list[ir.Value]:
    """Returns the outer computed values that subgraphs read or return."""
    found: dict[ir.Value, None] = {}
    for graph in graphs:
        inside = set(graph.inputs)
        for node in graph.all_nodes():
            inside.update(node.outputs)
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.GRAPH:
                    inside.update(attribute.as_graph().inputs)
        read = [value for node in graph.all_nodes() for value in node.inputs]
        for value in (*read, *graph.outputs):
            if value is not None and value not in inside and not is_constant(value):
                found[value] = None
    return list(found)


def _parameter(inner: Lowering, value: ir.Value) -> Tensor:
    """Creates an input of a subgraph."""
    layout = identity(len(shape_of(value)))
    tensor = inner.builder.tensor(value.name or "parameter", shape_of(value), _dtype(value))
    inner.place(value, tensor, layout, "real")
    return tensor


def _results(inner: Lowering, values: Sequence[ir.Value], parameters: Sequence[Tensor]) -> list[Tensor]:
    """Returns the outputs of a subgraph; a value that is returned twice, or is an input or a constant, is copied."""
    results: list[Tensor] = []
    for value in values:
        tensor = _fetch(inner, value)
        if tensor.data is not None or tensor in parameters or tensor in results:
            copy = inner.builder.tensor(f"{tensor.name}/copy", tensor.shape, tensor.dtype)
            inner.builder.operator(
                "RESHAPE", [tensor, inner.integers(tensor.shape, "shape")], [copy], schema.ReshapeOptionsT()
            )
            tensor = copy
        results.append(tensor)
    return results


def _fetch(lowering: Lowering, value: ir.Value) -> Tensor:
    return lowering.fetch(value, identity(len(shape_of(value))), "real")


def _scalar(lowering: Lowering, value: ir.Value) -> Tensor:
    return lowering.reshape(_fetch(lowering, value), (), f"{value.name}/scalar")


def _dtype(value: ir.Value) -> str:
    if value.dtype is None:
        raise Unsuited(f"the type of {value.name} is not known")
    return str(value.dtype.numpy().name)


def constant_(operation: Operation) -> None:
    """Constant -> nothing: its readers get the values. Only subgraphs have such nodes."""
    optimizer.basic_constant_propagation([operation.node])


LOWERINGS: dict[str, LoweringFunction] = {"Constant": constant_, "If": if_, "Loop": loop}
