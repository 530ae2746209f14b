"""`edgecomp sensitivity`: how many channels each layer can lose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, get_args

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, progress_bar, say, table
from edgecomp.cli.parameters import Calibration, Preprocess, TrainingData
from edgecomp.errors import InputError, correction

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgecomp.compression.pruning.channels import CriterionName
    from edgecomp.sensitivity import Sensitivity


@command
def run(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="task.py or module:function, with a torch module.")],
    target: Annotated[str, typer.Option(help="A device; `edgecomp targets` lists them.")] = "raspberry-pi-4b",
    criterion: Annotated[
        str,
        typer.Option(
            help="How to rate channels: l1, l2, taylor, fisher, hessian, bn-scale, geometric-median, lamp, "
            "activation, lasso or random."
        ),
    ] = "l2",
    shares: Annotated[
        str, typer.Option(help="Shares of a layer's channels to leave out, separated by commas.")
    ] = "0.25,0.5,0.75",
    samples: Annotated[int, typer.Option(min=1, help="Measure on at most this many samples.")] = 512,
    calibration: Calibration = None,
    training: TrainingData = None,
    preprocess: Preprocess = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Show what a model loses without some channels of each layer."""
    from edgecomp.sensitivity import sensitivity

    with progress_bar() as progress:
        found = sensitivity(
            source,
            target,
            criterion=_criterion(criterion),
            shares=_numbers(shares),
            samples=samples,
            calibration=calibration,
            training=training,
            preprocess=preprocess,
            progress=progress,
        )

    def show(console: Console) -> None:
        say(console, f"{found.source}: {found.measure} {found.quality:.4f}; the most sensitive layer first")
        console.print(_layers(found))
        say(
            console,
            "-25%: without a quarter of the layer's channels; MACs: of the whole network, with the most removed",
            *(f"left alone: {layer}: {reason}" for layer, reason in found.left_alone.items()),
        )

    return Answer(found.as_dict(), show)


def _layers(found: Sensitivity) -> Table:
    shares = [point.share for point in found.layers[0].points] if found.layers else []
    made = table("layer", ">channels", *(f">-{share:.0%}" for share in shares), ">MACs left")
    for layer in found.layers:
        qualities = (f"{point.quality:.4f}" for point in layer.points)
        made.add_row(layer.name, str(layer.channels), *qualities, f"{layer.points[-1].macs:.1%}")
    return made


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            "--shares", expected="numbers separated by commas", actual=repr(text), cure="give 0.25,0.5,0.75"
        ) from None


def _criterion(name: str) -> CriterionName:
    from edgecomp.compression.pruning.channels import CriterionName

    known: tuple[CriterionName, ...] = get_args(CriterionName)
    for each in known:
        if each == name:
            return each
    cure = correction(name, known, "choose one of them")
    raise InputError("--criterion", expected=f"one of {', '.join(known)}", actual=repr(name), cure=cure)
