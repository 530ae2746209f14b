"""`edgecomp inspect`: what is inside an artifact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, say, table
from edgecomp.units import format_size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgecomp.inspection import Inspection
    from edgecomp.interface import TensorInterface


@command
def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .tflite, .onnx, .ort or .mnn file.")],
    draw: Annotated[
        Path | None, typer.Option(metavar="GRAPH.html", help="Also draw the graph, as .svg or .html.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Show what is inside an artifact, or draw it.

    Operators, precisions, memory, multiplications, inputs and outputs.
    """
    from edgecomp.artifact import find_converter
    from edgecomp.drawing import check_target
    from edgecomp.drawing import draw as draw_graph

    if draw is not None:
        check_target(draw)
    converter = find_converter(file)
    inspection = converter.inspect(file)
    precision = inspection.precision
    support = None if precision is None else converter.precisions[precision]
    if draw is not None:
        draw_graph(inspection, file.name, draw)

    def show(console: Console) -> None:
        lines = [f"{file}: {inspection.format}", *_facts(inspection)]
        if support is not None:
            lines.insert(1, f"  precision {precision}: the runtime {support.execution} it: {support.how}")
        say(console, *lines)
        console.print(_operators(inspection))
        say(console, *_islands(inspection), *([f"drawn: {draw}"] if draw is not None else []))

    return Answer(inspection.as_dict() | ({} if support is None else asdict(support)), show)


def _facts(inspection: Inspection) -> Iterator[str]:
    weights = ", ".join(f"{dtype} {format_size(size)}" for dtype, size in inspection.weights.items())
    yield f"  size {format_size(inspection.size)}, weights {format_size(inspection.weight_bytes)}" + (
        f" ({weights})" if len(inspection.weights) > 1 else ""
    )
    memory = inspection.memory
    arena = f"{format_size(memory.arena)} in one arena"
    yield f"  activations: {format_size(memory.live)} at once, at {_first(memory.live_at)}; {arena}"
    for number, note in (
        (memory.unknown, f"{memory.unknown} activations of unknown size are left out"),
        (memory.dynamic, "dynamic dimensions count as 1"),
        (len(inspection.contents.inner), "the bodies of loops and branches are left out"),
    ):
        if number:
            yield f"    {note}"
    macs = inspection.macs
    unknown = f", without {macs.unknown} operators of unknown shape" if macs.unknown else ""
    yield f"  multiply-accumulates: {macs.total:,}{unknown}"
    for heading, tensors in (("input", inspection.inputs), ("output", inspection.outputs)):
        yield from (f"  {heading} {_describe(tensor)}" for tensor in tensors)
    for signature in inspection.signatures:
        yield f"  signature {signature.name}: {', '.join(signature.inputs)} -> {', '.join(signature.outputs)}"


def _operators(inspection: Inspection) -> Table:
    """Operators by count, with what they multiply."""
    nodes = inspection.contents.nodes
    macs: Counter[tuple[str, str]] = Counter()
    for position, number in inspection.macs.by_node.items():
        macs[nodes[position].op_type, nodes[position].precision] += number
    made = table("operator", "precision", ">count", ">MACs")
    for entry in inspection.operators:
        number = macs[entry.op_type, entry.precision]
        made.add_row(entry.op_type, entry.precision, str(entry.count), f"{number:,}" if number else "")
    return made


def _islands(inspection: Inspection, limit: int = 8) -> Iterator[str]:
    """A line for each float island, the first few of many."""
    nodes = inspection.contents.nodes
    for island in inspection.islands[:limit]:
        kinds = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in Counter(island.op_types).items())
        module = nodes[island.positions[0]].module
        yield f"float island: {kinds}, from {_first(island.nodes[0])}" + (f" in module {module}" if module else "")
    if len(inspection.islands) > limit:
        yield f"and {len(inspection.islands) - limit} more float islands"


def _first(name: str) -> str:
    """The first of the names that TensorFlow's converter joins when it fuses operators."""
    return name.partition(";")[0]


def _describe(tensor: TensorInterface) -> str:
    shape = " x ".join("any" if size is None else str(size) for size in tensor.shape) or "scalar"
    layout = f", the source's dimensions in the order {tensor.permutation}" if tensor.permutation else ""
    scale = "" if tensor.scale is None else f", scale {tensor.scale:.6g}, zero point {tensor.zero_point}"
    return f"{tensor.name}: {tensor.dtype} {shape}{layout}{scale}"
