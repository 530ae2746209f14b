"""`edgecomp verify`: the agreement matrix again, from a result folder alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, samples, table
from edgecomp.cli.compress import Preprocess

if TYPE_CHECKING:
    from rich.console import Console


@command
def run(
    folder: Annotated[Path, typer.Argument(help="A folder that compress or convert wrote.")],
    data: Annotated[
        str | None, typer.Option(help="More inputs: .npz, a folder of arrays or pictures, or file.py:function.")
    ] = None,
    preprocess: Preprocess = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Check hashes and golden outputs of a result folder, and compare its artifacts on any data."""
    from edgecomp.reverification import verify_folder

    result = verify_folder(folder, data=data, preprocess=preprocess)

    def show(console: Console) -> None:
        from edgecomp.cli.tables import decibels, share

        made = table("compared", "output", ">same answer", ">SQNR", ">largest")
        for pair in result.pairs:
            for entry in pair.comparisons:
                largest = f"{entry.max_difference:.4g}{' steps' if entry.step else ''}"
                names = f"{pair.reference} / {pair.candidate}"
                made.add_row(names, entry.output, share(entry), decibels(entry), largest)
        console.print(f"{folder}: compared on {samples(result.samples)}", markup=False, soft_wrap=True)
        if result.pairs:
            console.print(made)
        for problem in result.violations:
            console.print(f"broken: {problem}", markup=False, soft_wrap=True)
        if not result.violations:
            console.print("every artifact is the one that was verified, and computes what was recorded")

    return Answer(asdict(result), show, exit_code=1 if result.violations else 0)
