"""The command line. Each command is one file here; this one puts them together."""

from __future__ import annotations

import typer

from edgecomp.cli import compress, convert, demo, inspect, targets, verify

app = typer.Typer(
    name="edgecomp",
    help="Trained PyTorch and ONNX models onto phones and ARM boards: compressed, converted, proven and measured.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

for module in (compress, convert, verify, targets, inspect, demo):
    app.command(name=module.__name__.rpartition(".")[2])(module.run)


def main() -> None:
    """The entry point of the `edgecomp` script."""
    app()
