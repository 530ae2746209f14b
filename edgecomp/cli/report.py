"""`edgecomp report`: a result folder as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, say

if TYPE_CHECKING:
    from rich.console import Console


@command
def run(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that compress or convert wrote.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="PAGE.html", help="The page to write.  [default: DIR/report.html]"),
    ] = None,
    diagnosis: Annotated[
        Path | None, typer.Option(metavar="D.json", help="What `edgecomp diagnose --json` printed, to show the layers.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Show a result as one HTML page that needs no other file."""
    from edgecomp.diagnosis.report import read
    from edgecomp.drawing import write
    from edgecomp.report.page import page

    target = output or folder / "report.html"
    content = page(folder, None if diagnosis is None else read(diagnosis))
    write(target, content)
    document = {"page": str(target), "bytes": len(content.encode())}
    return Answer(document, lambda console: _show(console, target))


def _show(console: Console, target: Path) -> None:
    say(console, f"{target}: open it in any browser")
