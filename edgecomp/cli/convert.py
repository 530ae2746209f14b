"""`edgecomp convert`: export without compression; a QDQ model keeps its integers."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecomp.cli.check import show_forecast
from edgecomp.cli.common import Answer, AsJson, Debug, command, default_folder, progress_bar
from edgecomp.cli.compress import answer
from edgecomp.cli.parameters import (
    Calibration,
    Constants,
    IoDtype,
    IoLayout,
    Output,
    Precision,
    Preprocess,
    Shapes,
    Source,
)


@command
def run(
    source: Source,
    to: Annotated[str, typer.Option("--to", "--formats", help="Comma-separated formats.")] = "tflite,onnxruntime,mnn",
    precision: Precision = "fp32",
    output: Output = None,
    target: Annotated[str, typer.Option(help="The device to write artifacts for.")] = "generic-arm64",
    calibration: Calibration = None,
    preprocess: Preprocess = None,
    io_dtype: IoDtype = None,
    io_layout: IoLayout = None,
    shape: Shapes = None,
    constant: Constants = None,
    check: Annotated[bool, typer.Option("--check", help="Only show what each format would do with each node.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Convert a model, and check what the artifacts compute."""
    from edgecomp.frontends.constants import parse_constants
    from edgecomp.loading import Brought
    from edgecomp.options import resolve
    from edgecomp.pipeline import compress, forecast
    from edgecomp.shapes import parse_shapes

    brought = Brought(
        shapes=parse_shapes(shape or ()),
        constants=parse_constants(constant or ()),
        calibration=calibration,
        preprocess=preprocess,
    )
    profile, chosen = resolve(target, formats=to, precision=precision, io_dtype=io_dtype, io_layout=io_layout)
    if check:
        with progress_bar() as progress:
            outlook = forecast(source, profile, recipe=chosen, progress=progress, **brought)
        return Answer(outlook.as_dict(), lambda console: show_forecast(console, outlook), 0 if outlook.converts else 1)
    with progress_bar() as progress:
        result = compress(
            source, profile, output or default_folder(source), recipe=chosen, progress=progress, **brought
        )
    return answer(result)
