"""`edgecomp compress`: the main job."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, default_folder, progress_bar, samples

if TYPE_CHECKING:
    from rich.console import Console

    from edgecomp.pipeline import Result

Output = Annotated[Path | None, typer.Option("-o", "--output", help="The folder to make; it must not exist.")]
Calibration = Annotated[
    str | None, typer.Option(help="Typical inputs: .npz, a folder of arrays or pictures, or file.py:function.")
]
Evaluation = Annotated[str | None, typer.Option(help="file.py:function that yields (inputs, labels).")]
TrainingData = Annotated[
    str | None, typer.Option("--training", help="file.py:function that yields (inputs, labels) for steps that train.")
]
Preprocess = Annotated[
    str | None, typer.Option(help="How pictures become inputs: resize=256,crop=224,mean=0.485:0.456:0.406,std=...")
]
Precision = Annotated[
    str | None, typer.Option(help="fp32, fp16, int8, int16x8, dynamic-int8, weight-int8 or weight-int4.")
]
IoDtype = Annotated[str | None, typer.Option(help="float32, or int8 for quantized inputs and outputs.")]
IoLayout = Annotated[str | None, typer.Option(help="auto, nhwc or nchw: how TFLite's images lie.")]
Shapes = Annotated[
    list[str] | None, typer.Option("--shape", metavar="NAME=1x3x224x224", help="Fix the shape of a dynamic input.")
]

MinAgreement = Annotated[
    float | None,
    typer.Option(
        help="Least share of samples with the original's argmax; layers stay in float until it is kept. [0.95]"
    ),
]
MinSqnr = Annotated[float | None, typer.Option(help="Least signal to noise of the outputs in dB, kept likewise.")]
MaxDrop = Annotated[
    str | None, typer.Option(help="How much of the metric may be lost, 0.5% of the original's or a number, likewise.")
]
MaxSize = Annotated[
    str | None, typer.Option(metavar="5MB", help="How large each artifact may be; float layers are chosen within it.")
]
MaxLatency = Annotated[
    str | None, typer.Option(metavar="12ms", help="How long an inference may take by the target's estimate, likewise.")
]
Islands = Annotated[
    str | None, typer.Option("--island", help="What layers that integers would hurt compute in: float32 or int16x8.")
]
Effort = Annotated[str | None, typer.Option(help="fast, balanced or best: how much work int8 is worth.")]
DataFree = Annotated[
    bool, typer.Option("--data-free", help="Calibrate on made-up inputs; better than nothing, worse than real ones.")
]
KeepFloat = Annotated[
    list[str] | None, typer.Option("--keep-float", metavar="LAYER", help="A node or torch module to keep in float.")
]
Constants = Annotated[
    list[str] | None, typer.Option("--constant", metavar="NAME=16000", help="Make an input of an .onnx file constant.")
]


@command
def run(
    source: Annotated[str, typer.Argument(help="task.py, module:function, model.onnx or program.pt2.")],
    target: Annotated[str | None, typer.Option(help="A device; `edgecomp targets` lists them.")] = None,
    output: Output = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe.toml; the other options change it.")] = None,
    calibration: Calibration = None,
    evaluation: Evaluation = None,
    training: TrainingData = None,
    preprocess: Preprocess = None,
    formats: Annotated[str | None, typer.Option(help="Comma-separated: tflite,onnxruntime,mnn.")] = None,
    precision: Precision = None,
    effort: Effort = None,
    estimator: Annotated[str | None, typer.Option(help="How activation ranges are found: minmax, mse, ...")] = None,
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
    from edgecomp.options import plan
    from edgecomp.pipeline import compress
    from edgecomp.shapes import parse_shapes

    profile, chosen = plan(target, recipe)
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
        def line(text: str) -> None:
            console.print(text, markup=False, soft_wrap=True)

        line(f"{result.folder}: compared on {samples(result.verification.samples)}")
        console.print(agreement_table(result))
        line(legend(result.manifest))
        for note in result.manifest["notes"]:
            line(f"note: {note}")
        for artifact in result.manifest["artifacts"]:
            if artifact["execution"] == "stores":
                line(f"note: {artifact['file']} only stores {artifact['precision']}: {artifact['how']}")
            reasons: dict[str, list[dict[str, str]]] = {}
            for island in artifact["islands"]:
                reasons.setdefault(island["reason"], []).append(island)
            for reason, islands in reasons.items():
                line(f"note: {artifact['file']} computes {few(islands)} in float: {reason}")

    return Answer({"folder": str(result.folder), **result.manifest}, show)


def few(islands: list[dict[str, str]], limit: int = 3) -> str:
    """Nodes by name, or how many there are of each operator that does more than move data."""
    from edgecomp.quantization.scheme import OPERATORS

    if len(islands) <= limit:
        return ", ".join(f"{island['op_type']} {island['node']}" for island in islands)
    counts = Counter(island["op_type"] for island in islands).most_common()
    movers = {op_type for op_type, scheme in OPERATORS.items() if scheme.output == "input"}
    computing = [(op_type, count) for op_type, count in counts if op_type not in movers] or counts
    listed, rest = computing[:limit], sum(count for _, count in computing[limit:])
    return ", ".join(f"{count} {op_type}" for op_type, count in listed) + (f" and {rest} others" if rest else "")
