"""The command line. Each command is one file here; this one puts them together."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from edgecomp.cli import (
    bench,
    bundle,
    compress,
    convert,
    demo,
    diagnose,
    estimate,
    explain,
    inspect,
    keygen,
    publish,
    report,
    sensitivity,
    sign,
    targets,
    update,
    verify,
)
from edgecomp.cli.common import collect_garbage_rarely

app = typer.Typer(
    name="edgecomp",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

for module in (
    *(compress, convert, verify, report, diagnose, sensitivity, targets, inspect),
    *(bench, estimate, explain, bundle, keygen, sign, publish, update, demo),
):
    app.command(name=module.__name__.rpartition(".")[2])(module.run)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"edgecomp {version('edgecomp')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Compress trained PyTorch and ONNX models, and get them onto phones and ARM boards."""


def main() -> None:
    """The entry point of the `edgecomp` script."""
    # What is half-made is removed on the way out, also when it is not a person who stops us.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    collect_garbage_rarely()
    app()
