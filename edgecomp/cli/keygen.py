"""`edgecomp keygen`: a key pair to sign bundles with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, say

if TYPE_CHECKING:
    from rich.console import Console


@command
def run(
    key: Annotated[Path, typer.Argument(metavar="KEY", help="File of the private key; the public one is KEY.pub.")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Make an Ed25519 key pair to sign bundles with."""
    from edgecomp.bundle.signing import encoded, read_public, write_keys

    public = write_keys(key)
    code = encoded(read_public(public))

    def show(console: Console) -> None:
        say(
            console,
            f"{key}: the private key; keep it where bundles are signed, and nowhere else",
            f"{public}: the public key, {code}",
        )

    return Answer({"private": str(key), "public": str(public), "public_base64": code}, show)
