"""`edgecomp bundle`: what compress wrote, packed for an app."""

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
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that compress wrote.")],
    platform: Annotated[
        str, typer.Option(help="android, c, flutter, ios, linux-arm64, react-native or web.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The bundle's folder; it must not exist.  [default: dist/DIR-PLATFORM]"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name in code.  [default: after the source]")] = None,
    formats: Annotated[str | None, typer.Option(help="Artifacts to pack, the preferred one first.")] = None,
    release: Annotated[int, typer.Option(help="Release number; an app refuses a lower one than it has seen.")] = 1,
    sign: Annotated[Path | None, typer.Option(help="Private key from `edgecomp keygen` to sign with.")] = None,
    trust: Annotated[Path | None, typer.Option(help="Public key that the code will trust, to sign later.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Pack models for an app, with loader code and a self-test."""
    from edgecomp.bundle.build import make_bundle

    with progress_bar() as progress:
        made = make_bundle(
            folder,
            platform,
            output or Path("dist") / f"{folder.resolve().name}-{platform}",
            name=name,
            formats=None if formats is None else [part.strip() for part in formats.split(",") if part.strip()],
            release=release,
            sign=sign,
            trust=trust,
            progress=progress,
        )
    document: dict[str, Any] = {
        "folder": str(made.folder),
        "models_size": made.models_size,
        "labels_size": made.labels_size,
        "overhead": made.overhead,
        "signed": made.signed,
        "bundle": made.document,
    }

    def show(console: Console) -> None:
        models = ", ".join(model["file"] for model in made.document["models"])
        labels = f", {format_size(made.labels_size)} of class names" if made.labels_size else ""
        sizes = f"{format_size(made.models_size)} of models{labels} and {format_size(made.overhead)} of everything else"
        trusted = "signed" if made.signed else "not signed: the loader checks hashes only"
        say(
            console,
            f"{made.folder}: {made.document['name']}, release {release}, for {platform}; {trusted}",
            f"{models}; {sizes}",
            f"read {made.folder / 'README.md'} next",
        )

    return Answer(document, show)
