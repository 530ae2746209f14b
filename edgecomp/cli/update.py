"""`edgecomp update`: the newest release of a published bundle, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, progress_bar, say
from edgecomp.units import format_size

if TYPE_CHECKING:
    from rich.console import Console


@command
def run(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where a published site is served.")],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder to keep up to date; the app opens FOLDER/current.")
    ],
    key: Annotated[Path, typer.Option(help="Public key that must have signed the release.", show_default=False)],
    base: Annotated[Path | None, typer.Option(help="The bundle that the app came with.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Get the newest release of a published bundle, verified."""
    from edgecomp.delivery.update import update

    with progress_bar() as progress:
        done = update(url, folder, key, base=base, progress=progress)
    document: dict[str, Any] = {**done.__dict__, "folder": str(done.folder), "deltas": list(done.deltas)}

    def show(console: Console) -> None:
        if done.release == done.before:
            line = f"{done.folder}: release {done.release} is the newest"
        else:
            way = f", {', '.join(done.deltas)} as deltas" if done.deltas else ""
            sizes = f"{format_size(done.downloaded)} downloaded for {format_size(done.whole)}{way}"
            line = f"{done.folder}: release {done.release} in place of {done.before or 'none'}; {sizes}"
        say(console, line)

    return Answer(document, show)
