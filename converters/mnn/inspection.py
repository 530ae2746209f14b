"""Reads what is inside a `.mnn` file."""

from __future__ import annotations

from pathlib import Path

from edgecomp.converter import Inspection, count_operators
from edgecomp.converters.mnn.flatbuffer import MalformedError
from edgecomp.converters.mnn.net import Net, Op, blob_bytes, convolution, not_a_model, read_net
from edgecomp.converters.mnn.precision import is_plumbing, op_precision
from edgecomp.converters.mnn.runtime import interface_of
from edgecomp.interface import METADATA_KEY


def inspect(path: Path) -> Inspection:
    """Reads what is inside a `.mnn` file, without loading it into the runtime.

    Raises:
        SourceError: The file is not a readable MNN model.
    """
    net = read_net(path)
    try:
        return _inspect(net, path)
    except MalformedError as error:
        raise not_a_model(path, str(error)) from None


def _inspect(net: Net, path: Path) -> Inspection:
    interface = interface_of(net, path)
    return Inspection(
        format="mnn",
        size=len(net.buffer),
        inputs=interface.inputs,
        outputs=interface.outputs,
        operators=count_operators((op.type, op_precision(net, op)) for op in net.ops if not is_plumbing(op)),
        weight_bytes=sum(_constant_bytes(net, op) for op in net.ops),
        precision=interface.precision,
        metadata={METADATA_KEY if net.code.startswith("{") else "code": net.code, "mnn": net.version},
    )


def _constant_bytes(net: Net, op: Op) -> int:
    if op.type in {"Convolution", "ConvolutionDepthwise", "Deconvolution", "DeconvolutionDepthwise"} and op.parameter:
        settings = convolution(op)
        return settings.weight.nbytes + settings.stored.nbytes + settings.scales.nbytes + settings.bias.nbytes
    return blob_bytes(op)
