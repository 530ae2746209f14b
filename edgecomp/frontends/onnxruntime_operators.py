"""Files that ONNX Runtime's optimizers wrote: its own operators become ONNX's, as far as they can.

ONNX's checker and its converter between opsets know nothing of them, so they are set aside for these calls.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgecomp.arrays import Array, Arrays
from edgecomp.errors import SourceError
from edgecomp.frontends import runtime
from edgecomp.frontends.external_data import all_nodes
from edgecomp.graph.contrib import ADOPTED, BLOCKED_DOMAIN, DOMAIN, contrib_nodes, is_adopted, spell_contrib


def refuse_blocked(proto: onnx.ModelProto, subject: str) -> None:
    """Refuses tensors in blocks of channels, whose size is that of one processor's registers.

    Raises:
        SourceError: The model has such operators.
    """
    node = next((node for node in all_nodes(proto) if node.domain == BLOCKED_DOMAIN), None)
    if node is not None:
        raise SourceError(
            f"{subject}: {node.op_type} {node.name!r}",
            expected="a model that any processor can run",
            actual=f"the domain {BLOCKED_DOMAIN}: ONNX Runtime optimized it for the processor that it was saved on",
            cure="give the model as it was before, or save it again with session_options.graph_optimization_level = "
            "onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED",
        )


@contextlib.contextmanager
def adopted_set_aside(proto: onnx.ModelProto) -> Iterator[None]:
    """Within the block, operators that ONNX Runtime has in ONNX's domain, and ONNX has not, are in ONNX Runtime's."""
    opset = next((entry.version for entry in proto.opset_import if entry.domain == ""), 1)
    own = [node for node in all_nodes(proto) if node.domain == "" and is_adopted(node.op_type, opset)]
    missing = own and all(entry.domain != DOMAIN for entry in proto.opset_import)
    if missing:
        proto.opset_import.add(domain=DOMAIN, version=1)
    for node in own:
        node.domain = DOMAIN
    try:
        yield
    finally:
        for node in own:
            node.domain = ""
        if missing:
            del proto.opset_import[-1]


def brought_back(proto: onnx.ModelProto) -> onnx.ModelProto:
    """What was made of a model within `adopted_set_aside`, with those operators in ONNX's domain again."""
    for node in all_nodes(proto):
        if node.domain == DOMAIN and node.op_type in ADOPTED:
            node.domain = ""
    return proto


def spell_own_operators(model: ir.Model, examples: Arrays, expected: Sequence[Array], subject: str) -> ir.Model:
    """The model with ONNX's operators in place of ONNX Runtime's.

    Args:
        model: At the opset that it will have.
        examples: One array for each input.
        expected: What the original gives for them.
        subject: The source, for error messages.

    Returns:
        A new model; `model` itself when there are no such operators.

    Raises:
        SourceError: What was put in their place computes something else.
    """
    if not contrib_nodes(model):
        return model
    spelled = model.clone()
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(spelled)
    _tell_shapes(spelled, examples)
    if not spell_contrib(spelled):
        return spelled
    for value in (value for node in spelled.graph.all_nodes() for value in node.outputs):
        if not value.is_graph_output():
            value.shape = None  # of the examples; what is dynamic is found again
    rounds = runtime.rounds(spelled)
    if rounds:
        expected = [array.astype(np.float64) for array in expected]  # how far integers are off, not how many of them
    found = runtime.first_deviation(spelled, examples, expected, runtime.ROUNDED_TOLERANCE if rounds else None)
    if found is not None:
        raise SourceError(
            f"{subject}: output {found[0]!r}",
            expected="operators of ONNX Runtime that mean what its documentation says",
            actual=f"a difference of {found[1]:.2g} of the output's range when they are written with ONNX's",
            cure="give the model as it was before ONNX Runtime optimized it",
        )
    return spelled


def _tell_shapes(model: ir.Model, examples: Arrays) -> None:
    """Gives everything that these operators read its type, its rank and the sizes that do not depend on the inputs'."""
    graph = model.graph
    known = {*graph.inputs, *graph.initializers.values(), *graph.outputs}
    read = dict.fromkeys(
        value
        for node in contrib_nodes(model)
        for value in node.inputs
        if node.graph is graph and value is not None and value not in known
    )
    own = len(graph.outputs)
    graph.outputs.extend(read)
    try:
        session = runtime.open_session(model, lasting=False)
        found = zip(read, session.run(examples)[own:], session.shapes[own:], strict=True)
    finally:
        graph.outputs[own:] = []
    for value, array, told in found:
        sizes = [size if isinstance(size, int) else None for size in told]
        value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        value.shape = ir.Shape(sizes if len(sizes) == array.ndim else [None] * array.ndim)
