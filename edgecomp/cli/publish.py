"""`edgecomp publish`: a bundle's next release, into a folder for any static web server."""

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
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A signed folder that bundle wrote.")],
    site: Annotated[Path, typer.Argument(metavar="SITE", help="The folder to serve; made if it does not exist.")],
    key: Annotated[Path, typer.Option(help="Public key that signed it.", show_default=False)],
    deltas: Annotated[int, typer.Option(min=0, help="From how many earlier releases to make deltas.")] = 2,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Add a signed bundle to a site that devices update from."""
    from edgecomp.delivery.site import publish

    with progress_bar() as progress:
        made = publish(bundle, site, key, deltas=deltas, progress=progress)
    document: dict[str, Any] = {**made.__dict__, "site": str(made.site)}

    def show(console: Console) -> None:
        sizes = ", ".join(
            f"{format_size(size)} {f'for one with release {before}' if before else 'for a device without any'}"
            for before, size in sorted(made.downloads.items())
        )
        say(
            console,
            f"{site}: release {made.release}; serve it, and devices run `edgecomp update URL FOLDER --key {key}`",
            f"{format_size(made.added)} added; to download: {sizes}",
        )

    return Answer(document, show)
