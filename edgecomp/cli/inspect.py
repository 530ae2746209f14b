"""`edgecomp inspect`: what is inside an artifact."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, kilobytes, table

if TYPE_CHECKING:
    from rich.console import Console

    from edgecomp.interface import TensorInterface


@command
def run(
    file: Annotated[Path, typer.Argument(help="A .tflite, .onnx, .ort or .mnn file.")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Show operators, precisions, sizes, inputs and outputs of an artifact."""
    from edgecomp.artifact import find_converter

    converter = find_converter(file)
    inspection = converter.inspect(file)

    def show(console: Console) -> None:
        sizes = f"{kilobytes(inspection.size)}, weights {kilobytes(inspection.weight_bytes)}"
        lines = [f"{file}: {inspection.format}, {sizes}"]
        if inspection.precision is not None:
            support = converter.precisions[inspection.precision]
            lines.append(f"  precision {inspection.precision}: the runtime {support.execution} it: {support.how}")
        lines += [f"  input {_describe(tensor)}" for tensor in inspection.inputs]
        lines += [f"  output {_describe(tensor)}" for tensor in inspection.outputs]
        console.print("\n".join(lines), markup=False, soft_wrap=True)
        made = table("operator", "precision", ">count")
        for entry in inspection.operators:
            made.add_row(entry.op_type, entry.precision, str(entry.count))
        console.print(made)

    support = {} if inspection.precision is None else asdict(converter.precisions[inspection.precision])
    return Answer(asdict(inspection) | support, show)


def _describe(tensor: TensorInterface) -> str:
    shape = " x ".join("any" if size is None else str(size) for size in tensor.shape) or "scalar"
    layout = f", the source's dimensions in the order {tensor.permutation}" if tensor.permutation else ""
    scale = "" if tensor.scale is None else f", scale {tensor.scale:.6g}, zero point {tensor.zero_point}"
    return f"{tensor.name}: {tensor.dtype} {shape}{layout}{scale}"
