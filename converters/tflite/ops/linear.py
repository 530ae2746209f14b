"""Matrix products."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecomp.arrays import Array
from edgecomp.converters.tflite.layout import identity
from edgecomp.converters.tflite.lowering import Unsuited
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.convolution import bias_constant, weight_constant
from edgecomp.converters.tflite.ops.elementwise import last


def gemm(operation: Operation) -> None:
    """Gemm with a constant matrix -> FULLY_CONNECTED."""
    attributes = operation.node.attributes
    if attributes.get_int("transA", 0):
        raise Unsuited("FULLY_CONNECTED cannot transpose its input")
    if attributes.get_float("alpha", 1.0) != 1.0 or attributes.get_float("beta", 1.0) != 1.0:
        raise Unsuited("FULLY_CONNECTED has no alpha and beta")
    weight = operation.constant(1)
    _fully_connected(operation, weight if attributes.get_int("transB", 0) else weight.T)


def matmul(operation: Operation) -> None:
    """MatMul with a constant matrix -> FULLY_CONNECTED; of two computed tensors -> BATCH_MATMUL."""
    right = operation.value(1)
    if right.const_value is not None and len(operation.shape(1)) == 2 and len(operation.shape(0)) >= 2:
        _fully_connected(operation, operation.constant(1).T)
        return
    ranks = len(operation.shape(0)), len(operation.shape(1))
    if min(ranks) < 2:
        raise Unsuited("BATCH_MATMUL takes matrices, not vectors")
    options = schema.BatchMatMulOptionsT()
    flipped = identity(ranks[1])
    flipped = (*flipped[:-2], flipped[-1], flipped[-2])
    options.adjY = operation.layout(1) == flipped and right.const_value is None
    options.asymmetricQuantizeInputs = operation.is_hybrid
    layout = flipped if options.adjY else identity(ranks[1])
    stack = operation.weight_parameters() is not None
    tensors = [
        operation.input(0, identity(ranks[0])),
        weight_constant(operation, operation.constant(1), axis=0) if stack else operation.input(1, layout),
    ]
    operation.emit("BATCH_MATMUL", tensors, [operation.output(identity(max(ranks)))], options)


def _fully_connected(operation: Operation, weight: Array) -> None:
    """Emits x @ weight.T + bias; `weight` has the shape (out, in)."""
    rank = len(operation.shape(0))
    layout = last(operation, rank - 1)
    source = operation.input(0, layout)
    order = operation.lowering.order(operation.value(0))
    parameters = operation.weight_parameters()
    if order is not None and parameters is not None and parameters.block is not None:
        # The weights of a block have to stay neighbours, so the input is reordered instead.
        source = operation.gathered(source, len(source.shape) - 1, np.argsort(order), "in_order")
    elif order is not None:
        weight = weight[:, order]
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = rank > 2
    # XNNPACK always does this; the flag makes the reference kernel give the same numbers.
    options.asymmetricQuantizeInputs = operation.is_hybrid
    options.fusedActivationFunction = operation.fuse_activation()
    filters = weight_constant(operation, np.ascontiguousarray(weight), axis=0)
    tensors = [source, filters, bias_constant(operation, len(weight))]
    operation.emit("FULLY_CONNECTED", tensors, [operation.output(layout)], options)


LOWERINGS: dict[str, LoweringFunction] = {"Gemm": gemm, "MatMul": matmul}
