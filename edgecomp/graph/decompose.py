"""Replaces operators that a format lacks by simpler ones that it has.

Each converter says, as data, what it wants to have replaced. A decomposition that is written by hand
(`graph.decompositions`) goes first, since it knows the shapes; ONNX's own function bodies do the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import replace

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgecomp.graph.decompositions import DECOMPOSITIONS
from edgecomp.graph.decompositions.bodies import body, operators_with_bodies
from edgecomp.graph.decompositions.pieces import MOST_NODES, Pieces
from edgecomp.graph.query import ORIGIN_KEY, ORIGIN_TYPE_KEY, WHOLE_KEY
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.parameters import QuantizationParameters

#: Where the function bodies of single nodes are kept while they are inlined.
_DOMAIN = "edgecomp.body"
#: What computed bounds would make a loop of that gives no one knows how many numbers; constant ones are folded.
_OPEN_ENDED = frozenset({"Range"})
#: A piece may be decomposed in turn; the deepest chain known is Attention, Softmax, its parts.
_MOST_ROUNDS = 8


def decomposable() -> frozenset[str]:
    """The operators that `decompose` knows to replace, at least in some of their forms."""
    return operators_with_bodies().union(DECOMPOSITIONS) - _OPEN_ENDED


#: What to replace: all nodes of some operators, or those that a function chooses.
Wanted = Container[str] | Callable[[ir.Node], bool]


def decompose(model: CompressedModel, wanted: Wanted, *, most_nodes: int = MOST_NODES) -> CompressedModel:
    """Replaces every node that is wanted, in subgraphs too.

    The pieces of a node of a quantized model stay in float, as the node itself would: what it reads and gives is what
    the simulation predicts, and nothing is rounded in between. A node that runs in integers is left alone.

    Args:
        model: Simplified.
        wanted: What to replace. Where a node cannot be, it stays, and its metadata `WHOLE_KEY` says why.
        most_nodes: A loop or branch that would become more nodes stays whole.

    Returns:
        The model, simplified again, or `model` itself when there was nothing to do. Pieces carry the metadata of their
        node, and its name and operator (`query.origin`).
    """
    done = model
    for _ in range(_MOST_ROUNDS):
        if not any(True for _ in _wanted(done, wanted)):
            break
        graph, table = done.graph.clone(), dict(done.quantization)
        for index, node in enumerate(list(_wanted(replace(done, graph=graph), wanted))):
            _mark(node, quantized=bool(model.quantization))
            _decompose(graph, node, index, table, most_nodes)
        common.InlinePass(lambda function: function.domain == _DOMAIN)(graph)
        graph.opset_imports.pop(_DOMAIN, None)
        common.ShapeInferencePass()(graph)
        done = replace(simplify(replace(done, graph=graph, quantization=table)), provenance=model.provenance)
    return done


def in_float(model: CompressedModel, wanted: Callable[[ir.Node], bool]) -> CompressedModel:
    """The model, whose nodes that are wanted run in float: `decompose` takes those that run in integers for whole."""
    if not model.quantization or not any(map(wanted, model.graph.graph)):
        return model
    marked = model.graph.clone()
    for node in marked.graph:
        if wanted(node):
            node.metadata_props[scheme.PRECISION_KEY] = "float32"
    return replace(model, graph=marked)


def _wanted(model: CompressedModel, wanted: Wanted) -> Iterator[ir.Node]:
    for node in model.graph.graph.all_nodes():
        if not (wanted(node) if callable(wanted) else node.op_type in wanted) or WHOLE_KEY in node.metadata_props:
            continue
        if not model.quantization or not scheme.runs_in_integers(node, model.quantization):
            yield node


def _mark(node: ir.Node, *, quantized: bool) -> None:
    """Writes on a node what its pieces inherit."""
    node.metadata_props.setdefault(ORIGIN_KEY, node.name or "")
    node.metadata_props.setdefault(ORIGIN_TYPE_KEY, node.op_type)
    if quantized:
        node.metadata_props[scheme.PRECISION_KEY] = "float32"


def _decompose(
    model: ir.Model, node: ir.Node, index: int, table: dict[str, QuantizationParameters], most_nodes: int
) -> None:
    """Replaces one node, or turns it into the call of a function that is inlined later; extends the table."""
    opset = model.opset_imports.get("", 1)
    known = node.domain in {"", "ai.onnx", "com.microsoft"}
    if (decomposition := DECOMPOSITIONS.get(node.op_type) if known else None) is not None:
        pieces = Pieces(node, opset, most_nodes=most_nodes, quantization=table)
        if pieces.put_in_place(decomposition):
            table.update(pieces.quantization.maps[0])
        return
    function = body(node, opset) if node.domain in {"", "ai.onnx"} else None
    if function is None:
        node.metadata_props[WHOLE_KEY] = "ONNX does not say what it is made of"
        return
    name = node.name or node.op_type
    for piece in function:
        piece.name = f"{name}/{piece.op_type.lower()}"
        for value in piece.outputs:
            value.name = f"{name}/{value.name}"
    overload = f"{len(model.functions)}_{index}"
    node.domain, node.overload = _DOMAIN, overload
    function = ir.Function(
        _DOMAIN, node.op_type, overload, graph=function.graph, attributes=function.attributes.values()
    )
    model.functions[function.identifier()] = function
