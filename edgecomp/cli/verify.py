"""`edgecomp verify`: the agreement matrix again, from a result folder alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, samples, say, table
from edgecomp.cli.parameters import Preprocess
from edgecomp.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


@command
def run(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that compress, convert or bundle wrote.")],
    data: Annotated[
        str | None, typer.Option(help="More inputs: .npz, a folder of arrays or pictures, or file.py:function.")
    ] = None,
    preprocess: Preprocess = None,
    key: Annotated[Path | None, typer.Option(help="The public key that must have signed a bundle.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Check a result folder or bundle again.

    Hashes and golden outputs, and a result's artifacts on any data.
    """
    from edgecomp.bundle.checking import is_bundle

    return _verify_bundle(folder, key) if is_bundle(folder) else _verify_result(folder, data, preprocess, key)


def _verify_result(folder: Path, data: str | None, preprocess: str | None, key: Path | None) -> Answer:
    if key is not None:
        raise InputError(
            f"{folder}: --key {key}",
            expected="a bundle, which can be signed",
            actual="a result folder, or none",
            cure="leave out --key, or give the folder that `edgecomp bundle` wrote",
        )
    from edgecomp.verification.result_folder import verify_folder

    result = verify_folder(folder, data=data, preprocess=preprocess)

    def show(console: Console) -> None:
        from edgecomp.cli.tables import decibels, share

        several = any(len(pair.comparisons) > 1 for pair in result.pairs)
        made = table("compared", *(["output"] * several), ">samples", ">same answer", ">SQNR", ">largest")
        for pair in result.pairs:
            for entry in pair.comparisons:
                largest = f"{entry.max_difference:.4g}{' steps' if entry.step else ''}"
                names = [f"{pair.reference} / {pair.candidate}", *([entry.output] * several)]
                made.add_row(*names, str(entry.samples), share(entry), decibels(entry), largest)
        say(console, f"{folder}: compared on {samples(result.samples)}, with the original on the recorded one")
        if result.pairs:
            console.print(made)
        broken = [f"broken: {problem}" for problem in result.violations]
        say(console, *(broken or ["every artifact is the one that was verified, and computes what was recorded"]))

    return Answer(asdict(result), show, exit_code=1 if result.violations else 0)


def _verify_bundle(folder: Path, key: Path | None) -> Answer:
    from edgecomp.bundle.checking import verify_bundle

    result = verify_bundle(folder, key)

    def show(console: Console) -> None:
        lines = [f"{folder}: {result.name}, release {result.release}; signature: {result.signature}"]
        for name, away in result.differences.items():
            lines.append(f"{name}: differs from what was recorded by {away:.1%} of what is tolerated")
        lines += [f"broken: {problem}" for problem in result.violations]
        if not result.violations:
            lines.append("every file is the one that the bundle was made with, and computes what was recorded")
        say(console, *lines)

    return Answer(asdict(result), show, exit_code=1 if result.violations else 0)
