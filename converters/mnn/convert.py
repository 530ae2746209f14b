"""Writes a compressed model as a `.mnn` file."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from edgecomp.converter import Conversion, ConversionOptions, FloatIsland, Unsupported
from edgecomp.converters.mnn.attempt import Attempt, attempt
from edgecomp.converters.mnn.blame import at_node, blamed, wrong_node
from edgecomp.converters.mnn.integer_kernels import is_plumbing, runs_in_int8
from edgecomp.converters.mnn.lowering import lower
from edgecomp.converters.mnn.net import Net
from edgecomp.converters.mnn.operators import unsupported_nodes
from edgecomp.converters.mnn.overlay import lower_any
from edgecomp.converters.mnn.rewriting import Rewriting
from edgecomp.converters.mnn.trial import largest_difference, prepare, with_floats
from edgecomp.errors import ConversionError, UnsupportedOperatorError
from edgecomp.graph.binding import bind
from edgecomp.model import CompressedModel
from edgecomp.quantization.scheme import fused_activation, has_constant_weight, runs_in_integers

_ACTIVATIONS = frozenset({"ReLU", "ReLU6"})

#: Names that a note lists.
_LISTED = 5


def check(model: CompressedModel, options: ConversionOptions) -> list[Unsupported]:
    """The nodes that MNN cannot express."""
    static = bind(model)
    return unsupported_nodes(static, options, lower(static))


def convert(model: CompressedModel, path: Path, options: ConversionOptions) -> Conversion:
    """Writes `model` to `path` through MNN's converter, with the model's own scales.

    Raises:
        UnsupportedOperatorError: MNN cannot express a node.
        ConversionError: MNN's converter failed, or wrote a file that gives other numbers.
    """
    with tempfile.TemporaryDirectory(prefix="edgecomp-mnn-") as name:
        try:
            made, lowered, notes = _made(Path(name), model, str(path), options)
        except ConversionError as error:
            made, lowered, notes = _made_with_fixed_sizes(Path(name), model, str(path), options, error)
        islands = _islands(model, lowered, made.net, made.integer)
        _judge(bind(model), made, islands, str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made.artifact, path)
    return Conversion(path, islands, (*notes, *_products_in_float(model, islands)))


#: A file, the graph that it was made from, and notes.
_Made = tuple[Attempt, Rewriting, tuple[str, ...]]


def _made(folder: Path, model: CompressedModel, subject: str, options: ConversionOptions) -> _Made:
    """A file that MNN runs."""
    folder.mkdir(exist_ok=True)
    lowered, shapes, notes = lower_any(model)
    for problem in unsupported_nodes(model, options, lowered):
        raise UnsupportedOperatorError(
            f"{problem.op_type} {problem.node!r} for MNN",
            expected="an operator that MNN can express",
            actual=problem.reason,
            cure=problem.cure,
        )
    return attempt(folder, model, lowered, shapes, subject, options.processing), lowered, notes


def _made_with_fixed_sizes(
    folder: Path, model: CompressedModel, subject: str, options: ConversionOptions, error: ConversionError
) -> _Made:
    """A file with fewer dynamic dimensions: MNN may run at one size what it cannot run at any.

    Raises:
        ConversionError: It does not run at one size either, or the model is static.
    """
    shapes = model.dynamic
    if shapes is None:
        raise blamed(error, model) from error
    try:
        found, fixed = _made(folder / "fixed", bind(model), subject, options), list(shapes.example)
    except ConversionError as another:
        raise blamed(another, bind(model)) from error
    for index, name in enumerate(shapes.example if len(shapes.example) > 1 else ()):
        with contextlib.suppress(ConversionError):
            freer = replace(model, dynamic=shapes.with_fixed([name]))
            found = _made(folder / f"without-{index}", freer, subject, options)
            fixed = [name]
            break
    made, lowered, notes = found
    told = ", ".join(f"{name!r} at {shapes.example[name]}" for name in fixed)
    note = f"The .mnn file fixes {told}, give --shape for another size: MNN cannot run it at others ({error.actual})."
    return made, lowered, (*notes, note)


def _products_in_float(model: CompressedModel, islands: Sequence[FloatIsland]) -> Iterator[str]:
    """A sentence about convolutions and products with weights that MNN leaves in float, when there are any."""
    weighted = [node for node in model.graph.graph if has_constant_weight(node)]
    integer = [node.name or "" for node in weighted if runs_in_integers(node, model.quantization)]
    names = {island.node for island in islands}
    left = [name for name in integer if name in names]
    if left:
        listed = ", ".join(left[:_LISTED]) + (", ..." if len(left) > _LISTED else "")
        yield f"MNN computes {len(left)} of {len(integer)} convolutions and products with weights in float: {listed}."


def _judge(model: CompressedModel, made: Attempt, islands: Sequence[FloatIsland], subject: str) -> None:
    """Compares what MNN computed with what ONNX Runtime did.

    Raises:
        ConversionError: They differ by more than arithmetic in another order explains.
    """
    output, ratio = largest_difference(model, made.interface, made.trial, made.outputs)
    if ratio > 1 and islands:
        trial = prepare(with_floats(model, {island.node for island in islands}))
        output, ratio = largest_difference(model, made.interface, trial, made.outputs)
    if ratio <= 1:
        return
    node = wrong_node(model)
    if node is None and math.isfinite(ratio):
        # The network magnifies the last digits of random inputs; what it makes of real ones is verified later.
        return
    error = ConversionError(
        subject,
        expected=f"the numbers of ONNX Runtime for output {output!r} on random inputs",
        actual=f"MNN gives others, {ratio:.3g} times as far away as is allowed",
        cure="report this with the model, or leave MNN out with --formats",
    )
    raise error if node is None else at_node(error, node)


def _islands(
    model: CompressedModel, lowered: Rewriting, net: Net, integer: frozenset[str] | None
) -> tuple[FloatIsland, ...]:
    """The nodes of the source that some op of the net computes in float."""
    wanted = {node.name: node for node in model.graph.graph if runs_in_integers(node, model.quantization)}
    fused = {activation.name: name for name, node in wanted.items() if (activation := fused_activation(node))}
    known = {value.name: lowered.origin(node) for node in lowered.model.graph for value in node.outputs}
    makers: dict[int, str | None] = {index: known.get(name) for index, name in enumerate(net.tensors) if name in known}
    reasons: dict[str | None, str] = {}
    for op in reversed(net.ops):
        # A tensor that MNN made itself belongs to the node that it was made for.
        maker = next((makers[index] for index in op.outputs if index in makers), None)
        for index in op.inputs:
            makers.setdefault(index, maker)
        if op.type not in _ACTIVATIONS:
            # A tensor has its name from the activation that MNN fused into the op.
            maker = fused.get(maker, maker)
        if not is_plumbing(op) and op.type != "ConvertTensor" and not runs_in_int8(net, op, integer):
            reasons.setdefault(maker, f"MNN computes {op.type} in float")
    return tuple(
        FloatIsland(name or "", node.op_type, reasons[name]) for name, node in wanted.items() if name in reasons
    )
