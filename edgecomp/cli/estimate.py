"""`edgecomp estimate`: what artifacts may cost on a device that nobody has at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, say, table
from edgecomp.cli.parameters import ResultFolder
from edgecomp.units import format_size

if TYPE_CHECKING:
    from rich.console import Console


@command
def run(
    source: ResultFolder,
    target: Annotated[str | None, typer.Option(help="A target other than the one it was made for.")] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(metavar="R.json", help="A measurement on the target to base the estimate on; repeatable."),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Estimate instructions and time of artifacts on a target.

    From documented facts, and from what was measured there.
    """
    from edgecomp.artifact import find_converter
    from edgecomp.devices.measuring import job_of
    from edgecomp.estimation import estimate
    from edgecomp.estimation.calibration import calibrated, factors
    from edgecomp.target import load_target, require_target

    job = job_of(source)
    profile = load_target(require_target(target or job.target, source))
    known = factors(results or (), profile)
    found = {}
    for artifact in job.artifacts:
        inspection = find_converter(artifact.payload.path).inspect(artifact.payload.path)
        found[artifact.name] = calibrated(estimate(inspection, profile), inspection.format, known)

    def show(console: Console) -> None:
        made = table("estimate", ">MACs", ">instructions", ">one thread", ">arena", ">bytes moved")
        for name, entry in found.items():
            instructions, time = entry.instructions, entry.milliseconds
            made.add_row(
                name,
                f"{entry.macs / 1e6:.3g} M",
                f"{instructions.low / 1e6:.3g} - {instructions.high / 1e6:.3g} M",
                ("not known" if time is None else f"{time.low:.3g} - {time.high:.3g} ms")
                + "*" * (entry.measurements > 0),
                format_size(entry.arena),
                format_size(entry.nbytes),
            )
        console.print(made)
        core = next(iter(found.values())).core
        where = f"{profile.title}, {core}" if core else profile.title
        say(console, f"for {where}; an estimate, and no measurement")
        if core and any(entry.milliseconds is None for entry in found.values()):
            say(console, "not known: how much this core does in a cycle is documented nowhere; give --results R.json")
        if any(entry.measurements for entry in found.values()):
            say(console, "*: by what other models of the same runtime and arithmetic took there")

    document = {"target": profile.name, "artifacts": {name: entry.as_dict() for name, entry in found.items()}}
    return Answer(document, show)
