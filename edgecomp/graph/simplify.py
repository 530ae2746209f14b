"""Makes a raw exported graph small and regular, without changing what it computes.

Most of the work is onnxscript's; this module fixes the order, bounds what folding may cost, adds the fusions that
on-device runtimes have single operators for, and leaves every node and value named and every shape inferred.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript import optimizer

from edgecomp.graph.affine import fold_affine, put_constants_last
from edgecomp.graph.batch_norm import spell_out_batch_norms
from edgecomp.graph.canonical import canonicalize
from edgecomp.graph.fusions import fuse_gelu
from edgecomp.graph.loops import capture_invariants, settle_turns
from edgecomp.graph.norms import fuse_layer_norms
from edgecomp.graph.protection import Protection
from edgecomp.graph.query import SIZED_KEY
from edgecomp.graph.reshapes import join_reshapes
from edgecomp.graph.rules import apply_rules
from edgecomp.graph.shapes import assume_shapes, conclude_shapes, correct_defaults
from edgecomp.graph.splits import fold_splits
from edgecomp.model import CompressedModel, Step

# It warns of every constant Split that it leaves, and those are folded here.
logging.getLogger("onnxscript.optimizer").setLevel(logging.ERROR)

#: A constant above this size is folded only when that makes the model smaller, not for Expand or ConstantOfShape.
_LARGEST_GROWTH = 1 << 20
_NO_LIMIT = 1 << 62

#: One round, in this order: patterns are found before their parts are taken into the weights around them.
_REWRITES: tuple[Callable[[ir.Model], bool], ...] = (
    fold_splits,
    capture_invariants,
    settle_turns,
    put_constants_last,
    apply_rules,
    fuse_gelu,
    fuse_layer_norms,
    spell_out_batch_norms,
    fold_affine,
    join_reshapes,
)

#: Folding enables rules and rules enable folding; exported graphs are stable after two or three rounds.
_MOST_ROUNDS = 6


def simplify(model: CompressedModel) -> CompressedModel:
    """Folds constants and BatchNorm, fuses patterns into single operators, drops dead code, infers shapes.

    What the quantization table says stays true: a tensor with parameters is not fused away, an Identity that changes
    parameters stays, and an entry whose constant is folded into another is dropped.

    Args:
        model: Any float graph with static input shapes.

    Returns:
        A model whose graph has unique node and value names and no Constant, BatchNormalization or
        needless Identity or Dropout node. Inputs and outputs keep their names, order, types and shapes.
    """
    graph = model.graph.clone()
    before = len(graph.graph)
    common.InlinePass()(graph)
    correct_defaults(graph)
    with Protection(graph.graph, model.quantization, weights_only=model.weights_only) as protection:
        _simplify_until_stable(graph)
        _infer_missing_shapes(graph)
        canonicalize(graph, model.quantization)
        _simplify_until_stable(graph)
        # The rules join MatMul and Add to a Gemm again, whatever the shape of the bias.
        canonicalize(graph, model.quantization)
    _name_constant_outputs(graph.graph)
    common.RemoveUnusedNodesPass()(graph)
    common.RemoveUnusedOpsetsPass()(graph)
    common.TopologicalSortPass()(graph)
    common.NameFixPass()(graph)
    _infer_missing_shapes(graph)
    table = protection.surviving()
    facts = {"nodes_before": before, "nodes_after": len(graph.graph)}
    if dropped := len(model.quantization) - len(table):
        facts["parameters_dropped"] = dropped
    return model.after(Step("simplify", facts=facts), graph=graph, quantization=table)


def _simplify_until_stable(graph: ir.Model) -> None:
    for _ in range(_MOST_ROUNDS):
        if not _simplify_once(graph):
            return


def _simplify_once(graph: ir.Model) -> bool:
    """One round of everything; returns whether something changed."""
    passes = (
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.CommonSubexpressionEliminationPass(),
    )
    changed = _fold_constants(graph)
    for rewrite in _REWRITES:
        changed |= rewrite(graph)
    for each in passes:
        changed |= each(graph).modified
    return eliminate_identities(graph.graph) or changed


def _name_constant_outputs(graph: ir.Graph) -> None:
    """A Constant that is an output, which onnx_ir leaves a node, becomes the Identity of an initializer."""
    for node in tuple(graph):
        result = node.outputs[0]
        tensor = ir.convenience.get_const_tensor(result) if node.op_type == "Constant" else None
        if tensor is None:
            continue
        value = ir.Value(name=f"{result.name}/constant", shape=result.shape, type=result.type, const_value=tensor)
        graph.register_initializer(value)
        copied = ir.node("Identity", [value], name=node.name)
        new = copied.outputs[0]
        new.name, new.shape, new.type = result.name, result.shape, result.type
        graph.insert_before(node, copied)
        result.replace_all_uses_with(new, replace_graph_outputs=True)
        graph.remove(node, safe=True)


def _fold_constants(graph: ir.Model) -> bool:
    try:
        with np.errstate(all="ignore"):  # masks are made of infinities
            folded = optimizer.fold_constants_ir(
                graph,
                onnx_shape_inference=_lacks_shapes(graph),
                output_size_limit=_NO_LIMIT,
                should_fold=_is_worth_folding,
            )
    except RuntimeError:  # at an operator on sequences that it half knows; what it has done until then is right
        return False
    return bool(folded.modified)


def _lacks_shapes(graph: ir.Model) -> bool:
    """Inference is most of the work on a large graph, and most graphs are known after the first round.

    A shape with a symbol counts as lacking: it may hang on what has been folded since.
    """
    return any(
        value.shape is None or value.type is None or not value.shape.is_static()
        for node in graph.graph.all_nodes()
        for value in node.outputs
        if value.name
    )


def _infer_missing_shapes(graph: ir.Model) -> None:
    if not _lacks_shapes(graph):
        return
    common.ShapeInferencePass()(graph)
    for _ in range(_MOST_ROUNDS):
        if assume_shapes(graph):
            common.ShapeInferencePass()(graph)
        if not conclude_shapes(graph):
            return
        common.ShapeInferencePass()(graph)


def _is_worth_folding(node: ir.Node) -> bool:
    """What is constant is folded, unless the result is large, and larger than what it is made of."""
    if SIZED_KEY in node.metadata_props:
        return False
    size = sum(_bytes(value) for value in node.outputs)
    return size <= max(_LARGEST_GROWTH, sum(_bytes(value) for value in node.inputs if value is not None))


def _bytes(value: ir.Value) -> int:
    if value.shape is None or value.dtype is None or not all(isinstance(size, int) for size in value.shape):
        return 0
    return int(math.prod(int(size) for size in value.shape.numpy()) * value.dtype.itemsize)


def eliminate_identities(graph: ir.Graph) -> bool:
    """Removes every Identity, except where the graph's own inputs, constants and outputs need it to keep their names.

    onnx_ir's pass of that name renames a value that is an output already, when a second output is an Identity of it.
    """
    changed = False
    for node in tuple(graph):
        if node.op_type != "Identity" or node.domain not in {"", "ai.onnx"}:
            continue
        source, result = node.inputs[0], node.outputs[0]
        assert source is not None
        if result.is_graph_output():
            if source.is_graph_output() or source.producer() is None or source.graph is not graph:
                continue
            name = result.name
            result.name = None
            source.name = name
        source.type = source.type or result.type
        source.shape = source.shape if source.shape is not None else result.shape
        result.replace_all_uses_with(source, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        changed = True
    return changed
