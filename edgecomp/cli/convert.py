"""`edgecomp convert`: export without compression; a QDQ model keeps its integers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecomp.cli import common
from edgecomp.cli.common import AsJson, Debug, Shapes, command
from edgecomp.cli.compress import Calibration, Preprocess, adjusted, opener, show


@command
def run(
    model: Annotated[str, typer.Argument(help="model.onnx, program.pt2, task.py or module:function.")],
    to: Annotated[str, typer.Option(help="Comma-separated: tflite,onnxruntime,mnn.")] = "tflite,onnxruntime,mnn",
    precision: Annotated[str, typer.Option(help="fp32, or int8 with --calibration.")] = "fp32",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The folder to make.")] = None,
    target: Annotated[str, typer.Option(help="The device that artifacts are written for.")] = "generic-arm64",
    calibration: Calibration = None,
    preprocess: Preprocess = None,
    io_dtype: Annotated[str | None, typer.Option(help="float32, or int8 for quantized inputs and outputs.")] = None,
    io_layout: Annotated[str | None, typer.Option(help="nhwc, nchw or auto, for TFLite's images.")] = None,
    shape: Shapes = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Convert a model and check that the artifacts compute the same."""
    from edgecomp.pipeline import compress
    from edgecomp.frontends import load_source
    from edgecomp.recipe import default_recipe
    from edgecomp.target import load_target

    profile = load_target(target)
    recipe = adjusted(default_recipe(profile), profile.name, to, precision, None, io_dtype, io_layout)
    with common.progress_bar(hidden=as_json) as progress:
        loaded = load_source(model, shapes=common.parse_shapes(shape))
        result = compress(
            loaded,
            profile,
            output or Path("dist") / loaded.name,
            recipe=recipe,
            calibration=opener(calibration, loaded, preprocess),
            progress=progress,
        )
    show(result, as_json=as_json)
