"""`edgecomp verify`: the agreement matrix again, from a result folder alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, samples, say, table
from edgecomp.cli.parameters import Metric, Preprocess
from edgecomp.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgecomp.verification.result_folder import Reverification


#: How many classes a table shows.
_CLASSES = 10


@command
def run(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that compress, convert or bundle wrote.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="More inputs, as --calibration of compress takes them, or with labels, as --evaluation does."
        ),
    ] = None,
    preprocess: Preprocess = None,
    metric: Metric = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Show precision, recall and F1 of the classes that lost most.")
    ] = False,
    original: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="The model that was compressed, to compare with on the data too."),
    ] = None,
    key: Annotated[Path | None, typer.Option(help="The public key that must have signed a bundle.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Check a result folder or bundle again.

    Hashes and golden outputs, and a result's artifacts on any data.
    """
    from edgecomp.bundle.checking import is_bundle

    if is_bundle(folder):
        return _verify_bundle(folder, key)
    if key is not None:
        raise InputError(
            f"{folder}: --key {key}",
            expected="a bundle, which can be signed",
            actual="a result folder, or none",
            cure="leave out --key, or give the folder that `edgecomp bundle` wrote",
        )
    return _verify_result(folder, data, preprocess, metric, per_class, original)


def _verify_result(
    folder: Path, data: str | None, preprocess: str | None, metric: str | None, per_class: bool, original: str | None
) -> Answer:
    from edgecomp.frontends import load_source
    from edgecomp.verification.metrics import Metrics
    from edgecomp.verification.result_folder import verify_folder

    result = verify_folder(
        folder,
        data=data,
        preprocess=preprocess,
        metrics=None if metric is None else Metrics.parse(metric),
        original=None if original is None else load_source(original),
    )
    classes = _classes(folder, result, recorded=data is None) if per_class else None

    def show(console: Console) -> None:
        from edgecomp.cli.tables import class_legend, class_table

        with_original = "" if original is not None else ", with the original on the recorded one"
        say(console, f"{folder}: compared on {samples(result.samples)}{with_original}")
        if result.pairs:
            console.print(_pairs(result))
        if result.metrics:
            console.print(_metrics(result))
        for pair in result.pairs:
            if pair.churn is not None and pair.churn.changed:
                say(console, f"{pair.reference} / {pair.candidate}: {pair.churn.in_words()}")
        if classes is not None:
            console.print(class_table(classes, _CLASSES))
            say(console, *class_legend(classes, _CLASSES))
        broken = [f"broken: {problem}" for problem in result.violations]
        say(console, *(broken or ["every artifact is the one that was verified, and computes what was recorded"]))

    document = asdict(result) | ({} if classes is None else {"classes": classes})
    return Answer(document, show, exit_code=1 if result.violations else 0)


def _pairs(result: Reverification) -> Table:
    from edgecomp.cli.tables import decibels, share

    several = any(len(pair.comparisons) > 1 for pair in result.pairs)
    made = table("compared", *(["output"] * several), ">samples", ">same answer", ">SQNR", ">largest")
    for pair in result.pairs:
        for entry in pair.comparisons:
            largest = f"{entry.max_difference:.4g}{' steps' if entry.step else ''}"
            names = [f"{pair.reference} / {pair.candidate}", *([entry.output] * several)]
            made.add_row(*names, str(entry.samples), share(entry), decibels(entry), largest)
    return made


def _metrics(result: Reverification) -> Table:
    """The metrics of each model."""
    from edgecomp.cli.tables import figure

    made = table("", *(f">{name}" for name in next(iter(result.metrics.values()))))
    for name, scores in result.metrics.items():
        made.add_row(name, *map(figure, scores.values()))
    return made


def _classes(folder: Path, result: Reverification, *, recorded: bool) -> list[dict[str, Any]]:
    """What was found of each class, or what the manifest has on record where no data were given."""
    from edgecomp import manifest

    content = manifest.read(folder)
    found = content["verification"].get("classes") if recorded else manifest.classes(result.classes, content)
    if found:
        return list(found)
    raise InputError(
        f"{folder}: --per-class",
        expected="data whose labels are classes",
        actual="no data, and none when the folder was made" if recorded else "labels that are no classes, or none",
        cure="give --data a folder of pictures with a sub-folder for each class, an .npz with an array `labels`, or "
        "file.py:function that yields (inputs, labels)",
    )


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
