"""Options that several commands have, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Target = Annotated[str | None, typer.Option(help="A device; `edgecomp targets` lists them.")]
Recipe = Annotated[Path | None, typer.Option(help="A recipe.toml; the other options change it.")]
Estimator = Annotated[str | None, typer.Option(help="How activation ranges are found: minmax, mse, ...")]
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
