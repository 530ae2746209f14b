"""Reads an `.onnx` file as data: parsed, checked by onnx, and with its weights in memory of their own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir
from google.protobuf.message import DecodeError  # protobuf ships no stubs

from edgecomp.errors import SourceError
from edgecomp.frontends.checks import bad_weight
from edgecomp.frontends.external_data import LIMIT, all_nodes, all_tensors, load_external_data, too_large
from edgecomp.frontends.node_order import order_nodes
from edgecomp.frontends.onnxruntime_operators import adopted_set_aside, refuse_blocked
from edgecomp.frontends.opsets import lower_opset
from edgecomp.frontends.own_tensors import own_tensors
from edgecomp.frontends.strangers import recognized
from edgecomp.graph.message import read_message
from edgecomp.graph.stored_weights import StoredWeights

#: What graphs are raised to: the opset of the torch frontends, repeated here because theirs imports torch.
OPSET = 20
#: Below this the version converter is not able to help, and few exporters are in use that write it.
OLDEST_OPSET = 7
#: The names of ONNX's own domain.
STANDARD = ("", "ai.onnx")
#: Operators whose constant inputs are trained weights: infinity there is a diverged training, elsewhere a mask.
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "LSTM", "GRU", "RNN"})


def parse(path: Path) -> tuple[ir.Model, int, str]:
    """The model as it is in the file, checked; its opset, and the SHA-256 of its data.

    Raises:
        SourceError: The file is no ONNX model, is damaged, or reaches for data outside of its folder.
    """
    subject, weights = str(path), StoredWeights()
    proto, digest = _read(path, weights)
    _import_for_functions(proto)
    refuse_blocked(proto, subject)
    order_nodes(proto.graph)
    _forget_shapes_of_bodies(proto)
    opset = _check_opset(proto, subject)
    lower_opset(proto, opset, OPSET)
    _check_weights(proto, weights, subject)
    with weights.checkable(all_tensors(proto)), adopted_set_aside(proto):
        _check_model(proto, subject)
    return own_tensors(_to_graph(proto, subject), weights), opset, digest


def _read(path: Path, weights: StoredWeights) -> tuple[onnx.ModelProto, str]:
    """The model with all its data in memory, and the SHA-256 of that data."""
    size = path.stat().st_size
    if size > LIMIT:
        raise too_large(path, size)
    try:
        proto = read_message(path, weights)
    except DecodeError as error:
        if stranger := recognized(path):
            raise SourceError(str(path), expected="an ONNX model", actual=stranger.actual, cure=stranger.cure) from None
        raise _damaged(path, f"bytes that do not parse: {error}") from error
    # An empty file, and some garbage, is a valid message without any field.
    if not proto.ir_version or not proto.HasField("graph"):
        raise _damaged(path, "a file without a graph" if size else "an empty file")
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    for data in load_external_data(proto, path, weights):
        digest.update(data.data)
    weights.return_unusual(all_tensors(proto))
    return proto, digest.hexdigest()


def _import_for_functions(proto: onnx.ModelProto) -> None:
    """What a model imports for its functions alone, it imports: their nodes become the graph's."""
    known = {entry.domain for entry in proto.opset_import}
    for entry in (entry for function in proto.functions for entry in function.opset_import):
        if entry.domain not in known:
            known.add(entry.domain)
            proto.opset_import.add(domain=entry.domain, version=entry.version)


def _forget_shapes_of_bodies(proto: onnx.ModelProto) -> None:
    """What branches and loops declare of their results' shapes may be false: it follows from what they compute."""
    for node in all_nodes(proto):
        for body in (attribute.g for attribute in node.attribute if attribute.HasField("g")):
            made = {name for inner in body.node for name in inner.output}
            for value in body.output:
                if value.name in made and value.type.HasField("tensor_type"):
                    value.type.tensor_type.ClearField("shape")


def _check_opset(proto: onnx.ModelProto, subject: str) -> int:
    newest = onnx.defs.onnx_opset_version()
    versions = [int(entry.version) for entry in proto.opset_import if entry.domain in STANDARD]
    if not versions and all(node.domain not in STANDARD for node in proto.graph.node):
        return 0
    if not versions or not OLDEST_OPSET <= versions[0] <= newest:
        raise SourceError(
            subject,
            expected=f"an ONNX opset from {OLDEST_OPSET} to {newest}",
            actual=f"opset {versions[0]}" if versions else "none is declared",
            cure="export the model again with opset_version=20",
        )
    return versions[0]


def _check_model(proto: onnx.ModelProto, subject: str) -> None:
    # The checker wants shapes at the border, which ONNX Runtime does not, and many exporters leave out.
    border = [value.type.tensor_type for value in (*proto.graph.input, *proto.graph.output)]
    shapeless = [kind for kind in border if kind.elem_type and not kind.HasField("shape")]
    for kind in shapeless:
        kind.shape.SetInParent()
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise SourceError(
            subject,
            expected="a model that keeps the ONNX specification",
            actual=one_line(error),
            cure="export the model again, or correct the node that the message names",
        ) from error
    finally:
        for kind in shapeless:
            kind.ClearField("shape")
    if not proto.graph.output or not proto.graph.input:
        raise SourceError(
            subject,
            expected="at least one input and one output",
            actual=f"{len(proto.graph.input)} inputs and {len(proto.graph.output)} outputs",
            cure="export the model again",
        )
    for values in (proto.graph.input, proto.graph.output):
        names = [value.name for value in values]
        if repeated := sorted({name for name in names if names.count(name) > 1 or not name}):
            raise SourceError(
                subject,
                expected="inputs and outputs with names of their own",
                actual=f"the name {repeated[0]!r} more than once" if repeated[0] else "one without a name",
                cure="rename it in the model",
            )


def _to_graph(proto: onnx.ModelProto, subject: str) -> ir.Model:
    try:
        return ir.from_proto(onnx.inliner.inline_local_functions(proto) if proto.functions else proto)
    # A type or a structure that there is not, and that the checker lets pass.
    except Exception as error:
        reason: BaseException = error
        while reason.__cause__ is not None:
            reason = reason.__cause__
        raise SourceError(
            subject,
            expected="a model that keeps the ONNX specification",
            actual=one_line(reason),
            cure="export the model again: the file is damaged",
        ) from error


def _check_weights(proto: onnx.ModelProto, stored: StoredWeights, subject: str) -> None:
    weights = {name for node in proto.graph.node if node.op_type in _WEIGHTED for name in node.input}
    for tensor in all_tensors(proto):
        name = tensor.name or "a constant without a name"
        try:
            array = stored.numbers(tensor)
        # A size that does not go with the data, or a dtype that there is not.
        except Exception as error:
            raise SourceError(
                f"{subject}: tensor {name!r}",
                expected=f"data for the shape {list(tensor.dims)}",
                actual=one_line(error),
                cure="export the model again: the file is damaged",
            ) from error
        if not np.issubdtype(array.dtype, np.floating):
            continue
        bad = ~np.isfinite(array) if tensor.name in weights else np.isnan(array)
        # A single NaN that no layer has for a weight fills what is masked.
        if bad.any() and (array.size > 1 or tensor.name in weights):
            raise bad_weight(f"{subject}: tensor {name!r}", int(bad.sum()), array.size)


def _damaged(path: Path, actual: str) -> SourceError:
    return SourceError(
        str(path), expected="an ONNX model", actual=actual, cure="export or copy the file again: it is damaged"
    )


def one_line(error: BaseException) -> str:
    """The beginning of an exception's text, on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
