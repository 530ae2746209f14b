"""Finds the node that MNN fails on.

A crash is found by converting ever shorter beginnings of a graph; a wrong number by giving each node what MNN gave it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from edgecomp.converters.mnn.attempt import attempt
from edgecomp.converters.mnn.lowering import lower
from edgecomp.converters.mnn.trial import computes_in_float, find_disagreement, largest_difference
from edgecomp.errors import ConversionError
from edgecomp.graph.query import describe
from edgecomp.model import CompressedModel
from edgecomp.quantization.scheme import fused_activation

#: Seconds; a failed conversion is not made to wait longer for a better message.
_PATIENCE = 60.0


def blamed(error: ConversionError, model: CompressedModel) -> ConversionError:
    """An error of `attempt` with the name of the node that it is about, where that can be found."""

    def fails(shorter: CompressedModel) -> bool:
        with tempfile.TemporaryDirectory(prefix="edgecomp-mnn-") as name:
            try:
                attempt(Path(name), shorter, lower(shorter), None, error.subject)
            except ConversionError:
                return True
        return False

    node = first_failure(model, fails)
    return error if node is None else at_node(error, node)


def at_node(error: ConversionError, node: ir.Node) -> ConversionError:
    """An error that names a node."""
    subject = f"{error.subject}: {describe(node)}"
    return ConversionError(subject, expected=error.expected, actual=error.actual, cure=error.cure)


def wrong_node(model: CompressedModel) -> ir.Node | None:
    """The node that MNN gives other numbers for; None when no single one can be found."""
    if computes_in_float(model):
        shown = with_all_values(model)
        with tempfile.TemporaryDirectory(prefix="edgecomp-mnn-") as name:
            try:
                made = attempt(Path(name), shown, lower(shown), None, "the trial")
            except ConversionError:
                return None
        return find_disagreement(shown, made.trial, made.outputs, cut_apart(shown))

    def fails(shorter: CompressedModel) -> bool:
        with tempfile.TemporaryDirectory(prefix="edgecomp-mnn-") as name:
            try:
                made = attempt(Path(name), shorter, lower(shorter), None, "the trial")
            except ConversionError:
                return True
        return largest_difference(shorter, made.interface, made.trial, made.outputs)[1] > 1

    # A network that magnifies rounding fails from some node on, and none of them is wrong.
    node = first_failure(model, fails)
    return node if node is not None and fails(alone(model, node)) else None


def first_failure(model: CompressedModel, fails: Callable[[CompressedModel], bool]) -> ir.Node | None:
    """The node without which the graph up to it does not fail.

    Args:
        model: Fails as a whole.
        fails: Whether a model does.

    Returns:
        None when there was no time to find it.
    """
    nodes = list(model.graph.graph)
    start, right, wrong = time.monotonic(), 0, len(nodes)
    while wrong - right > 1:
        if time.monotonic() - start > _PATIENCE:
            return None
        middle = (right + wrong) // 2
        if fails(beginning(model, middle)):
            wrong = middle
        else:
            right = middle
    return nodes[wrong - 1] if nodes else None


def beginning(model: CompressedModel, count: int) -> CompressedModel:
    """The first nodes of a model, which gives out all that is not used up by them."""
    shortened = model.graph.clone()
    graph = shortened.graph
    nodes = list(graph)
    kept = [value for node in nodes[:count] for value in node.outputs]
    graph.outputs[:] = [value for value in graph.outputs if value in kept]
    graph.remove(nodes[count:], safe=True)
    given = set(graph.outputs)
    graph.outputs.extend(value for value in kept if value not in given and _is_left_over(value))
    return replace(model, graph=shortened)


def _is_left_over(value: ir.Value) -> bool:
    return bool(value.name) and value.type is not None and not tuple(value.uses())


def alone(model: CompressedModel, node: ir.Node) -> CompressedModel:
    """A model of one node, and of the activation that is computed with it."""
    parts = model.graph.clone()
    graph = parts.graph
    kept = {each.name for each in (node, fused_activation(node)) if each is not None}
    chosen = [each for each in graph if each.name in kept]
    made = [value for each in chosen for value in each.outputs]
    read = dict.fromkeys(value for each in chosen for value in each.inputs if value is not None and value not in made)
    graph.outputs[:] = [value for value in made if not any(use.node in chosen for use in value.uses())]
    graph.inputs[:] = []
    for value in read:
        if value.name not in graph.initializers:
            stand_in = ir.Value(name=value.name, type=value.type, shape=value.shape)
            graph.inputs.append(stand_in)
            for use in tuple(value.uses()):
                use.node.replace_input_with(use.idx, stand_in)
    graph.remove([each for each in graph if each not in chosen])
    return replace(model, graph=parts)


def with_all_values(model: CompressedModel) -> CompressedModel:
    """A model that gives out every value."""
    shown = model.graph.clone()
    given = set(shown.graph.outputs)
    values = [value for node in shown.graph for value in node.outputs if value.name and value.dtype is not None]
    shown.graph.outputs.extend(value for value in values if value not in given)
    return replace(model, graph=shown)


def cut_apart(model: CompressedModel) -> CompressedModel:
    """A model whose nodes no longer read each other, but inputs that follow its own: one per value, in their order."""
    parts = model.graph.clone()
    graph = parts.graph
    for value in [value for node in graph for value in node.outputs if value.name and value.dtype is not None]:
        stand_in = ir.Value(name=f"{value.name}/given", type=value.type, shape=value.shape)
        graph.inputs.append(stand_in)
        for use in tuple(value.uses()):
            use.node.replace_input_with(use.idx, stand_in)
    return replace(model, graph=parts)
