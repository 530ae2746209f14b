"""`edgecomp diagnose`: which layers lose what the model knew, and why."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, progress_bar, say, table
from edgecomp.cli.parameters import (
    Calibration,
    Constants,
    DataFree,
    Effort,
    Estimator,
    Evaluation,
    Precision,
    Preprocess,
    Recipe,
    Shapes,
    Source,
    Target,
)
from edgecomp.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgecomp.diagnosis.report import Diagnosis

#: What the headings mean.
LEGEND = (
    "share: of the error of the outputs, by rounding each layer alone; outputs: their SQNR then\n"
    "own: SQNR of the layer's values when it alone is rounded; all: when everything is\n"
    "used: share of the range that 99.9 % of the values use"
)


@command
def run(
    source: Source,
    target: Target = None,
    recipe: Recipe = None,
    calibration: Calibration = None,
    evaluation: Evaluation = None,
    preprocess: Preprocess = None,
    precision: Precision = None,
    effort: Effort = None,
    estimator: Estimator = None,
    data_free: DataFree = False,
    result: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A result folder to diagnose, with its own target and recipe."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Calibration batches to measure layers on.")] = 16,
    draw: Annotated[
        Path | None, typer.Option(metavar="PAGE.html", help="Also draw it: the layers as .svg, or everything as .html.")
    ] = None,
    shape: Shapes = None,
    constant: Constants = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Find the layers that cost accuracy, why, and what helps."""
    from edgecomp.diagnosis.picture import page, picture
    from edgecomp.diagnosis.run import diagnose, target_and_recipe
    from edgecomp.drawing import check_target, write
    from edgecomp.frontends.constants import parse_constants
    from edgecomp.options import resolve
    from edgecomp.shapes import parse_shapes

    if draw is not None:
        check_target(draw)
    options = {"precision": precision, "effort": effort, "estimator": estimator, "data_free": data_free or None}
    if result is not None:
        _check_alone(result, {"target": target, "recipe": recipe, **options})
        profile, chosen = target_and_recipe(result)
    else:
        _check_source(source)
        profile, chosen = resolve(target, recipe, **options)  # type: ignore[arg-type]  # keys and types of Options
    with progress_bar() as progress:
        diagnosis = diagnose(
            source,
            profile,
            recipe=chosen,
            shapes=parse_shapes(shape or ()),
            constants=parse_constants(constant or ()),
            calibration=calibration,
            evaluation=evaluation,
            preprocess=preprocess,
            samples=samples,
            result=result,
            progress=progress,
        )

    if draw is not None:
        write(draw, picture(diagnosis) if draw.suffix == ".svg" else page(diagnosis))

    def show(console: Console) -> None:
        say(console, f"{diagnosis.source} for {diagnosis.target}: {diagnosis.verdict}")
        console.print(_layers(diagnosis))
        say(console, LEGEND, *_words(diagnosis, console.width), *([] if draw is None else [f"drawn: {draw}"]))

    return Answer(diagnosis.as_dict(), show)


def _check_alone(result: Path, others: Mapping[str, object]) -> None:
    """A result has a target and a recipe of its own."""
    given = [f"--{name.replace('_', '-')}" for name, value in others.items() if value is not None]
    if given:
        raise InputError(
            f"--result {result}",
            expected="no option that says how the model is rounded: the result's own recipe does",
            actual=", ".join(given),
            cure="leave them out, or leave out --result",
        )


def _check_source(source: str) -> None:
    """A result folder is no source: the weights in float are not in it."""
    from edgecomp.manifest import FILE

    if (Path(source) / FILE).is_file():
        raise InputError(
            source,
            expected="the source that it was made of, and the folder with --result",
            actual="a result folder, which has no weights in float to compare with",
            cure=f"edgecomp diagnose SOURCE --result {source}",
        )


def _layers(diagnosis: Diagnosis, limit: int = 10) -> Table:
    """The worst layers, a line for each."""
    made = table("layer", "operator", ">share", ">outputs", ">own", ">all", ">used")
    for layer in diagnosis.layers[:limit]:
        numbers = (f"{number:.1f} dB" for number in (layer.output_sqnr, layer.own_sqnr, layer.sqnr))
        made.add_row(layer.name, layer.op_type, f"{layer.share:.1%}", *numbers, f"{layer.used:.0%}")
    return made


def _words(diagnosis: Diagnosis, width: int) -> Iterator[str]:
    """Why layers hurt, and what helps."""
    for layer in diagnosis.harmful:
        yield f"\n{layer.name} ({layer.op_type}, {layer.share:.0%} of the error)"
        for finding in layer.findings:
            for text, first in ((finding.words, "  - "), (f"cure: {finding.cure}", "    ")):
                yield from textwrap.wrap(text, width, initial_indent=first, subsequent_indent="    ")
    for artifact in diagnosis.artifacts:
        yield f"artifact: {artifact.words}"
    for note in diagnosis.notes:
        yield f"note: {note}"
