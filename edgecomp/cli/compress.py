"""`edgecomp compress`: the main job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecomp.cli import common
from edgecomp.cli.common import AsJson, Debug, IoDtype, IoLayout, Shapes, command

if TYPE_CHECKING:
    from edgecomp.pipeline import Result
    from edgecomp.recipe import Recipe

Calibration = Annotated[
    str | None, typer.Option(help="Calibration inputs: .npz, a folder of arrays or pictures, or file.py:function.")
]
Evaluation = Annotated[str | None, typer.Option(help="file.py:function that yields (inputs, labels).")]
Preprocess = Annotated[
    str | None, typer.Option(help="How pictures become inputs: resize=256,crop=224,mean=0.485:0.456:0.406,std=...")
]
Formats = Annotated[str | None, typer.Option(help="Comma-separated: tflite,onnxruntime,mnn.")]


@command
def run(
    source: Annotated[str, typer.Argument(help="task.py, module:function, model.onnx or program.pt2.")],
    target: Annotated[str | None, typer.Option(help="A device; `edgecomp targets` lists them.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The folder to make.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe.toml.")] = None,
    calibration: Calibration = None,
    evaluation: Evaluation = None,
    preprocess: Preprocess = None,
    formats: Formats = None,
    precision: Annotated[str | None, typer.Option(help="int8 or fp32; by default the target's.")] = None,
    estimator: Annotated[str | None, typer.Option(help="minmax, moving-average, percentile, mse or entropy.")] = None,
    io_dtype: Annotated[str | None, typer.Option(help="float32, or int8 for quantized inputs and outputs.")] = None,
    io_layout: Annotated[str | None, typer.Option(help="nhwc, nchw or auto, for TFLite's images.")] = None,
    min_agreement: Annotated[float, typer.Option(help="Least share of samples with the original's argmax.")] = 0.95,
    shape: Shapes = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compress a model for a device and write verified artifacts."""
    from edgecomp.pipeline import compress
    from edgecomp.frontends import load_source
    from edgecomp.recipe import default_recipe, load_recipe
    from edgecomp.target import load_target
    from edgecomp.verification import Tolerance

    chosen = load_recipe(common.existing(recipe)) if recipe is not None else None
    profile = load_target(target or (chosen.target if chosen is not None else _no_target()))
    plan = chosen if chosen is not None else default_recipe(profile)
    plan = adjusted(plan, profile.name, formats, precision, estimator, io_dtype, io_layout)
    with common.progress_bar(hidden=as_json) as progress:
        progress("load", 0, 1)
        loaded = load_source(source, shapes=common.parse_shapes(shape))
        folder = output or Path("dist") / f"{loaded.name}-{profile.name}"
        result = compress(
            loaded,
            profile,
            folder,
            recipe=plan,
            calibration=opener(calibration, loaded, preprocess),
            evaluation=opener(evaluation, loaded, preprocess),
            tolerance=Tolerance(agreement=min_agreement),
            progress=progress,
        )
    show(result, as_json=as_json)


def adjusted(
    recipe: Recipe,
    target: str,
    formats: str | None,
    precision: str | None,
    estimator: str | None,
    io_dtype: str | None,
    io_layout: str | None,
) -> Recipe:
    """A recipe with what the command line says instead."""
    from edgecomp.converter import available_formats
    from edgecomp.quantization.estimators import ESTIMATORS
    from edgecomp.quantization.static import StaticQuantization

    recipe = replace(recipe, target=target)
    if formats is not None:
        names = [name.strip() for name in formats.split(",")]
        recipe = replace(recipe, formats=tuple(common.choose("--formats", n, available_formats()) for n in names))
    if precision is not None:
        common.choose("--precision", precision, ("fp32", "int8"))
        steps = () if precision == "fp32" else recipe.steps or (StaticQuantization(),)
        recipe = replace(recipe, precision=precision, steps=steps)  # type: ignore[arg-type]
    if estimator is not None:
        chosen = common.choose("--estimator", estimator, tuple(ESTIMATORS))
        recipe = replace(recipe, steps=tuple(replace(step, estimator=chosen) for step in recipe.steps))
    if io_dtype is not None:
        chosen = common.choose("--io-dtype", io_dtype, ("float32", "int8"))
        recipe = replace(recipe, export=replace(recipe.export, io_dtype=chosen))
    if io_layout is not None:
        chosen = common.choose("--io-layout", io_layout, ("auto", "nhwc", "nchw"))
        recipe = replace(recipe, export=replace(recipe.export, io_layout=chosen))
    return recipe


def opener(place: str | None, source: Any, preprocess: str | None) -> Any:
    """A function that opens the data at `place`, or None."""
    if place is None:
        return None
    from edgecomp.frontends.data_files import open_data
    from edgecomp.frontends.pictures import Preprocessing

    preprocessing = Preprocessing.parse(preprocess) if preprocess is not None else source.preprocessing
    return lambda: open_data(place, source.input_specs, preprocessing=preprocessing)


def show(result: Result, *, as_json: bool) -> None:
    """Prints what was made."""
    if as_json:
        common.print_json({"folder": str(result.folder), **result.manifest})
        return
    from edgecomp.cli.tables import agreement_table

    console = common.stdout()
    console.print(agreement_table(result))
    for note in result.manifest["notes"]:
        console.print(f"note: {note}", markup=False)
    for artifact in result.manifest["artifacts"]:
        if artifact["islands"]:
            names = ", ".join(sorted({f"{i['op_type']} ({i['reason']})" for i in artifact["islands"]}))
            console.print(f"{artifact['file']} computes {len(artifact['islands'])} nodes in float: {names}", markup=False)


def _no_target() -> str:
    from edgecomp.errors import InputError
    from edgecomp.target import list_targets

    raise InputError(
        "--target",
        expected="the device that the model is for",
        actual="no target was given",
        cure=f"add --target with one of {', '.join(list_targets())}",
    )
