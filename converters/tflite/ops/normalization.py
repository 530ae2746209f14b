"""Normalizations over the last dimensions, as several operators, because TFLite has none for them."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.layout import Layout
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.elementwise import broadcastable


def layer_norm(operation: Operation) -> None:
    """LayerNormalization -> (x - mean) * rsqrt(variance + epsilon) * scale + bias (Ba et al., 2016)."""
    layout, rank = operation.layout(0), len(operation.shape(0))
    first = (operation.node.attributes.get_int("axis", -1) or 0) % rank
    axes = [layout.index(dimension) for dimension in range(first, rank)]
    source = operation.input(0)
    mean = _mean(operation, source, axes)
    centered = _arithmetic(operation, "SUB", source, mean)
    variance = _mean(operation, _arithmetic(operation, "MUL", centered, centered), axes)
    epsilon = operation.real_constant(operation.node.attributes.get_float("epsilon", 1e-5), "epsilon")
    steadied = _arithmetic(operation, "ADD", variance, epsilon)
    factor = operation.temporary(steadied, suffix="rsqrt")
    operation.emit("RSQRT", [steadied], [factor])
    for index, tensor in list(enumerate((mean, factor), start=1))[: len(operation.node.outputs) - 1]:
        operation.alias(tensor, layout, index)
    steps = [("MUL", factor), ("MUL", _operand(operation, 1, layout))]
    if operation.has_input(2):
        steps.append(("ADD", _operand(operation, 2, layout)))
    *others, (name, operand) = steps
    for other, factor in others:
        centered = _arithmetic(operation, other, centered, factor)
    operation.emit(name, [centered, operand], [operation.output(layout)], _OPTIONS[name]())


def _operand(operation: Operation, index: int, layout: Layout) -> Tensor:
    """Returns scale or bias; equal values become one scalar, because a full plane would fix the input's size."""
    array = operation.array(operation.value(index))
    if array is not None and (array == array.flat[0]).all():
        return operation.real_constant(array.flat[0], "scale" if index == 1 else "bias")
    return broadcastable(operation, index, layout)


_OPTIONS = {"ADD": schema.AddOptionsT, "MUL": schema.MulOptionsT, "SUB": schema.SubOptionsT}


def _arithmetic(operation: Operation, name: str, left: Tensor, right: Tensor) -> Tensor:
    result = operation.temporary(left, suffix=name.lower())
    operation.emit(name, [left, right], [result], _OPTIONS[name]())
    return result


def _mean(operation: Operation, source: Tensor, axes: list[int]) -> Tensor:
    shape = [1 if place in axes else size for place, size in enumerate(source.shape)]
    result = operation.temporary(source, shape, "mean")
    options = schema.ReducerOptionsT()
    options.keepDims = True
    operation.emit("MEAN", [source, operation.lowering.integers(axes, "axes")], [result], options)
    return result


LOWERINGS: dict[str, LoweringFunction] = {"LayerNormalization": layer_norm}
