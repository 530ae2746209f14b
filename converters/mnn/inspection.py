"""Reads what is inside a `.mnn` file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from edgecomp.converters.mnn.flatbuffer import MalformedError, Table
from edgecomp.converters.mnn.integer_kernels import is_plumbing, op_precision
from edgecomp.converters.mnn.net import Net, Op, blob_bytes, convolution, not_a_model, read_net
from edgecomp.converters.mnn.runtime import interface_of
from edgecomp.errors import ConversionError
from edgecomp.inspection import Contents, Inspection, Node, Quantization, Tensor
from edgecomp.interface import METADATA_KEY, Interface
from edgecomp.system.isolation import run_isolated

_MARKS = re.compile(r"^.*___tr\d*(?=.)|__matmul_converted.*$|_matmul_.*$")
_CONVOLUTIONS = frozenset({"Convolution", "ConvolutionDepthwise", "Deconvolution", "DeconvolutionDepthwise"})
#: Fields of Convolution2DCommon.
_KERNEL_X, _KERNEL_Y, _GROUP, _OUTPUTS, _INPUTS = 2, 3, 9, 10, 11
#: Seconds that the run which finds out shapes may take.
_PATIENCE = 60.0

Shapes = dict[str, tuple[int | None, ...]]


def inspect(path: Path) -> Inspection:
    """Reads a `.mnn` file; it holds no shapes, which come from one run in a process of its own.

    Raises:
        SourceError: The file is not a readable MNN model.
    """
    net = read_net(path)
    try:
        interface = interface_of(net, path)
        contents = _contents(net, interface, _shapes(path, interface))
    except MalformedError as error:
        raise not_a_model(path, str(error)) from None
    return Inspection(
        format="mnn",
        size=len(net.buffer),
        inputs=interface.inputs,
        outputs=interface.outputs,
        contents=contents,
        metadata={METADATA_KEY if net.code.startswith("{") else "code": net.code, "mnn": net.version},
    )


def _shapes(path: Path, interface: Interface) -> Shapes:
    """The shape of every tensor that MNN computes, dynamic inputs taken as 1; those of movers it never makes."""
    given = {item.name: [size or 1 for size in item.shape] for item in interface.inputs}
    shapes: Shapes = {}
    try:
        found = run_isolated(
            "edgecomp.converters.mnn.toolchain:observe",
            subject=str(path),
            timeout=_PATIENCE,
            path=str(path),
            shapes=given,
        )
        shapes = {name: tuple(shape) for name, shape in found.items()}
    except ConversionError:
        pass  # MNN cannot run it as it is; what the file says can be shown all the same
    return shapes | {item.name: item.shape for item in (*interface.inputs, *interface.outputs) if item.shape}


def _contents(net: Net, interface: Interface, shapes: Shapes) -> Contents:
    stored = {op.outputs[0]: op for op in net.ops if op.type == "Const" and op.outputs}
    precisions = {index: op_precision(net, op) for op in net.ops for index in op.outputs}
    shapes |= {net.tensors[op.outputs[0]]: shapes[op.name] for op in net.ops if op.name in shapes and op.outputs}
    dtypes = {item.name: item.dtype for item in (*interface.inputs, *interface.outputs)}
    tensors = []
    for index, name in enumerate(net.tensors):
        parameters = net.quantization.get(index)
        quantization = None if parameters is None else Quantization(parameters.scale, parameters.zero_point)
        if index in stored:
            tensors.append(_blob(name, stored[index]))
        elif precisions.get(index) == "int8":
            tensors.append(Tensor(name, "int8", shapes.get(name), None, quantization))
        else:
            tensors.append(Tensor(name, dtypes.get(name, "float32"), shapes.get(name), None, quantization))
    nodes = []
    for op in net.ops:
        if op.type in {"Input", "Const"}:
            continue
        weights = _weights(op)
        places = range(len(tensors), len(tensors) + len(weights))
        tensors.extend(weights)
        nodes.append(
            Node(
                op_type=op.type,
                name=op.name,
                precision="int32" if is_plumbing(op) else op_precision(net, op),
                inputs=(*op.inputs, *places),
                outputs=op.outputs,
                module=interface.module_of(_source_name(op.name)),
            )
        )
    places_of = {name: index for index, name in enumerate(net.tensors)}
    return Contents(
        tuple(tensors),
        tuple(nodes),
        tuple(index for op in net.inputs for index in op.outputs),
        tuple(places_of[name] for name in net.outputs if name in places_of),
    )


def _source_name(name: str) -> str:
    """What the source calls the tensor that an op was made for: MNN writes its own marks around that name."""
    return _MARKS.sub("", name)


def _blob(name: str, op: Op) -> Tensor:
    """A constant. Blob: its dims are field 0."""
    sizes = [] if op.parameter is None else op.parameter.array(0, np.int32).tolist()
    size = blob_bytes(op)
    elements = int(np.prod(sizes, dtype=np.int64))
    dtype = {1: "int8", 4: "float32", 8: "int64"}.get(size // max(elements, 1), "bytes")
    return Tensor(name, dtype, tuple(sizes), size)


def _weights(op: Op) -> list[Tensor]:
    """The weight, (output channels, input channels / group, y, x), and the bias that a convolution holds itself."""
    common = op.parameter.table(0) if op.type in _CONVOLUTIONS and op.parameter is not None else None
    if common is None:
        return []
    settings = convolution(op)
    quantized = bool(settings.stored.size)
    weight = Tensor(
        f"{op.name}/weight",
        "int8" if quantized else "float32",
        _weight_shape(op, common, settings.weight.size),
        settings.stored.nbytes + settings.scales.nbytes if quantized else settings.weight.nbytes,
        Quantization(float(settings.scales[0]), 0, settings.scales.size) if settings.scales.size else None,
    )
    bias = Tensor(f"{op.name}/bias", "float32", (settings.bias.size,), settings.bias.nbytes)
    return [weight, bias] if settings.bias.size else [weight]


def _weight_shape(op: Op, common: Table, elements: int) -> tuple[int, ...]:
    y, x = (common.integer(slot, 1) for slot in (_KERNEL_Y, _KERNEL_X))
    outputs = common.integer(_OUTPUTS)
    if op.type.endswith("Depthwise"):
        return outputs, 1, y, x
    inputs = common.integer(_INPUTS) // max(common.integer(_GROUP, 1), 1)
    inputs = inputs or elements // max(outputs * y * x, 1)
    return (inputs, outputs, y, x) if op.type == "Deconvolution" else (outputs, inputs, y, x)
