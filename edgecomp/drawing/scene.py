"""The content of a drawing: boxes with text, and arrows. Positions come later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgecomp.inspection import Contents, Inspection, Node, Tensor
from edgecomp.inspection.islands import SHORES
from edgecomp.interface import TensorInterface

#: Longer text is truncated; the tooltip has all of it.
_LONGEST = 30


@dataclass(frozen=True)
class Box:
    """One operator, input or output.

    Attributes:
        kind: "node", "shore" for a conversion between integers and floats, "input" or "output".
        title: Its operator, or its name.
        subtitle: The shape of its output.
        precision: The precision that it computes in.
        island: The number of its float island, or None.
        details: Lines for a tooltip.
    """

    kind: str
    title: str
    subtitle: str
    precision: str
    island: int | None
    details: tuple[str, ...]


@dataclass(frozen=True)
class Arrow:
    """A tensor that goes from one box to another.

    Attributes:
        source: Index of a box.
        target: Index of a later box.
        details: One line for a tooltip.
    """

    source: int
    target: int
    details: str


def compose(inspection: Inspection) -> tuple[list[Box], list[Arrow]]:
    """Returns boxes in the order of execution, and arrows; constants and everything computed from them are left out."""
    contents = inspection.contents
    boxes: list[Box] = []
    arrows: dict[tuple[int, int], Arrow] = {}
    makers: dict[int, int] = {}
    islands = {position: number for number, island in enumerate(inspection.islands) for position in island.positions}

    def connect(tensors: list[int], target: int) -> None:
        for index in tensors:
            source = makers.get(index)
            if source is not None:
                arrows.setdefault((source, target), Arrow(source, target, describe(contents.tensors[index])))

    for index, name in zip(contents.inputs, _names(contents.inputs, inspection.inputs), strict=True):
        makers[index] = len(boxes)
        boxes.append(_terminal("input", name, contents.tensors[index]))
    for position, node in contents.computing():
        connect(contents.activations(node), len(boxes))
        makers.update(dict.fromkeys(node.outputs, len(boxes)))
        details = tuple(_details(contents, node, inspection.macs.by_node.get(position)))
        boxes.append(
            Box(
                kind="shore" if node.op_type in SHORES else "node",
                title=_cut(node.op_type),
                subtitle=_cut(shape_text(contents.tensors[node.outputs[0]])) if node.outputs else "",
                precision=node.precision,
                island=islands.get(position),
                details=details,
            )
        )
    for index, name in zip(contents.outputs, _names(contents.outputs, inspection.outputs), strict=True):
        connect([index], len(boxes))
        boxes.append(_terminal("output", name, contents.tensors[index]))
    return boxes, list(arrows.values())


def _names(tensors: Sequence[int], interface: Sequence[TensorInterface]) -> Sequence[str | None]:
    """Returns the source's names of inputs or outputs, if the artifact has the same number of them."""
    return [item.name for item in interface] if len(interface) == len(tensors) else [None] * len(tensors)


def _terminal(kind: str, name: str | None, tensor: Tensor) -> Box:
    details = (f"{kind} {name or ''}".rstrip(), describe(tensor))
    return Box(kind, _cut(name or tensor.name), _cut(shape_text(tensor)), tensor.dtype, None, details)


def _details(contents: Contents, node: Node, macs: int | None) -> Iterator[str]:
    yield f"{node.op_type} in {node.precision}"
    yield node.name
    if node.module:
        yield f"module {node.module}"
    if macs:
        yield f"{macs:,} multiply-accumulates"
    for index in node.inputs:
        if index is not None:
            yield f"{'constant' if index in contents.fixed else 'in'} {describe(contents.tensors[index])}"
    for index in node.outputs:
        yield f"out {describe(contents.tensors[index])}"


def describe(tensor: Tensor) -> str:
    """Describes a tensor in one line."""
    line = f"{tensor.name}: {tensor.dtype} {shape_text(tensor)}".rstrip()
    quantization = tensor.quantization
    if quantization is None:
        return line
    if quantization.channels > 1:
        return f"{line}, {quantization.channels} scales from {quantization.scale:.4g}"
    return f"{line}, scale {quantization.scale:.4g}, zero point {quantization.zero_point}"


def shape_text(tensor: Tensor) -> str:
    """Formats a shape for people: "1 x 3 x any x any"."""
    if tensor.shape is None:
        return ""
    return " x ".join("any" if size is None else str(size) for size in tensor.shape) or "scalar"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
