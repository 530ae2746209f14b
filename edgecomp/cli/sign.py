"""`edgecomp sign`: the signature of a bundle, made where the private key is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, say

if TYPE_CHECKING:
    from rich.console import Console


@command
def run(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that bundle wrote.")],
    key: Annotated[Path, typer.Option(help="Private key from `edgecomp keygen`.", show_default=False)],
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Sign a bundle that was made with --trust, or sign it again."""
    from edgecomp.bundle.build import sign_bundle
    from edgecomp.bundle.signing import encoded, read_public

    sign_bundle(bundle, key)
    code = encoded(read_public(key))

    def show(console: Console) -> None:
        say(console, f"{bundle}: signed; apps that trust {code} will load it")

    return Answer({"bundle": str(bundle), "public_base64": code}, show)
