"""`edgecomp verify`: the agreement matrix again, from a result folder alone or against its source."""

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
    folder: Annotated[Path, typer.Argument(help="A folder that compress or convert wrote.")],
    data: Annotated[str | None, typer.Option(help="More inputs: .npz, a folder, or file.py:function.")] = None,
    preprocess: Annotated[str | None, typer.Option(help="How pictures become inputs.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check hashes and golden outputs of a result folder, and compare its artifacts on any data."""
    from edgecomp.reverification import verify_folder

    result = verify_folder(common.existing(folder), data=data, preprocess=preprocess)
    if as_json:
        common.print_json(asdict(result))
    else:
        console = common.stdout()
        table = Table(title=f"{folder}: {result.samples} samples", title_justify="left")
        for heading in ("artifacts", "output", "agreement", "cosine", "SQNR", "largest difference"):
            table.add_column(heading)
        for pair in result.pairs:
            for entry in pair.comparisons:
                agreement = "" if entry.agreement is None else f"{entry.agreement:.1%}"
                unit = " steps" if entry.step else ""
                cells = (f"{entry.cosine:.6f}", f"{entry.sqnr:.1f} dB", f"{entry.max_difference:.4g}{unit}")
                table.add_row(f"{pair.reference} / {pair.candidate}", entry.output, agreement, *cells)
        console.print(table)
        for problem in result.violations:
            console.print(f"broken: {problem}", markup=False)
    if result.violations:
        raise typer.Exit(1)
