"""`edgecomp compress`: the main job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, default_folder, progress_bar, samples, say
from edgecomp.cli.parameters import (
    Calibration,
    Constants,
    DataFree,
    Effort,
    Estimator,
    Evaluation,
    IoDtype,
    IoLayout,
    Islands,
    KeepFloat,
    MaxDrop,
    MaxLatency,
    MaxSize,
    Metric,
    MinAgreement,
    MinSqnr,
    Output,
    Precision,
    Preprocess,
    Recipe,
    Shapes,
    Source,
    Target,
    TrainingData,
)

if TYPE_CHECKING:
    from rich.console import Console

    from edgecomp.pipeline import Result


@command
def run(
    source: Source,
    target: Target = None,
    output: Output = None,
    recipe: Recipe = None,
    calibration: Calibration = None,
    evaluation: Evaluation = None,
    training: TrainingData = None,
    preprocess: Preprocess = None,
    metric: Metric = None,
    formats: Annotated[str | None, typer.Option(help="Comma-separated: tflite,onnxruntime,mnn.")] = None,
    precision: Precision = None,
    effort: Effort = None,
    estimator: Estimator = None,
    io_dtype: IoDtype = None,
    io_layout: IoLayout = None,
    min_agreement: MinAgreement = None,
    min_sqnr: MinSqnr = None,
    max_drop: MaxDrop = None,
    max_size: MaxSize = None,
    max_latency: MaxLatency = None,
    island: Islands = None,
    keep_float: KeepFloat = None,
    data_free: DataFree = False,
    shape: Shapes = None,
    constant: Constants = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Compress a model for a device and write verified artifacts."""
    from edgecomp.frontends.constants import parse_constants
    from edgecomp.options import resolve
    from edgecomp.pipeline import compress
    from edgecomp.shapes import parse_shapes

    profile, chosen = resolve(target, recipe)
    with progress_bar() as progress:
        result = compress(
            source,
            profile,
            output or default_folder(source, profile.name),
            recipe=chosen,
            shapes=parse_shapes(shape or ()),
            constants=parse_constants(constant or ()),
            calibration=calibration,
            evaluation=evaluation,
            training=training,
            preprocess=preprocess,
            metric=metric,
            progress=progress,
            formats=formats,
            precision=precision,
            effort=effort,
            estimator=estimator,
            io_dtype=io_dtype,
            io_layout=io_layout,
            data_free=data_free,
            min_agreement=min_agreement,
            min_sqnr=min_sqnr,
            max_drop=max_drop,
            max_size=max_size,
            max_latency=max_latency,
            island=island,
            keep_float=keep_float,
        )
    return answer(result)


def answer(result: Result) -> Answer:
    """What was made, for people and machines."""
    from edgecomp.cli.tables import agreement_table, legend

    def show(console: Console) -> None:
        say(console, f"{result.folder}: compared on {samples(result.verification.samples)}")
        console.print(agreement_table(result))
        say(console, legend(result), *(f"note: {note}" for note in result.manifest["notes"]))
        for artifact in result.manifest["artifacts"]:
            say(console, *(f"note: {artifact['file']} {remark}" for remark in _remarks(artifact)))

    return Answer({"folder": str(result.folder), **result.manifest}, show)


def _remarks(artifact: Mapping[str, Any]) -> Iterator[str]:
    """What an artifact does not compute in the precision that was asked for."""
    if artifact["execution"] == "stores":
        yield f"only stores {artifact['precision']}: {artifact['how']}"
    reasons: dict[str, list[dict[str, str]]] = {}
    for island in artifact["islands"]:
        reasons.setdefault(island["reason"], []).append(island)
    for reason, islands in reasons.items():
        yield f"computes {few(islands)} in float: {reason}"


def few(islands: list[dict[str, str]], limit: int = 3) -> str:
    """Nodes by name, or how many there are of each operator that does more than move data."""
    from edgecomp.quantization.scheme import OPERATORS

    if len(islands) <= limit:
        # A node of the outermost module is named after its operator.
        return ", ".join(" ".join(dict.fromkeys((each["op_type"], each["node"]))) for each in islands)
    counts = Counter(island["op_type"] for island in islands).most_common()
    movers = {op_type for op_type, scheme in OPERATORS.items() if scheme.output == "input"}
    computing = [(op_type, count) for op_type, count in counts if op_type not in movers] or counts
    listed, rest = computing[:limit], sum(count for _, count in computing[limit:])
    return ", ".join(f"{count} {op_type}" for op_type, count in listed) + (f" and {rest} others" if rest else "")
