"""`edgecomp inspect`: what is inside an artifact."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edgecomp.cli import common
from edgecomp.cli.common import AsJson, Debug, command


@command
def run(
    file: Annotated[Path, typer.Argument(help="A .tflite, .onnx, .ort or .mnn file.")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show operators, precisions, sizes, inputs and outputs of an artifact."""
    from edgecomp.converter import converter_for

    inspection = converter_for(common.existing(file)).inspect(file)
    if as_json:
        common.print_json(asdict(inspection))
        return
    console = common.stdout()
    weights = common.kilobytes(inspection.weight_bytes)
    console.print(f"{file}: {inspection.format}, {common.kilobytes(inspection.size)}, weights {weights}", markup=False)
    for part in ("inputs", "outputs"):
        for tensor in getattr(inspection, part):
            shape = " x ".join("any" if size is None else str(size) for size in tensor.shape)
            scale = f", scale {tensor.scale:.6g}, zero point {tensor.zero_point}" if tensor.scale is not None else ""
            console.print(f"  {part[:-1]} {tensor.name}: {tensor.dtype} {shape}{scale}", markup=False)
    table = Table()
    for heading in ("operator", "precision", "count"):
        table.add_column(heading)
    for entry in inspection.operators:
        table.add_row(entry.op_type, entry.precision, str(entry.count))
    console.print(table)
