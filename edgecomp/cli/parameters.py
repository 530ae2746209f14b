"""Options that several commands have, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[
    str,
    typer.Argument(metavar="SOURCE", help="task.py, module:function, model.onnx, program.pt2 or a Keras model."),
]
Target = Annotated[str | None, typer.Option(help="A device; `edgecomp targets` lists them.")]
Recipe = Annotated[Path | None, typer.Option(help="A recipe.toml; the other options change it.")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="The folder to make; it must not exist yet.  [default: one below dist/]"),
]
Calibration = Annotated[
    str | None, typer.Option(help="Typical inputs: .npz, a folder of arrays or pictures, or file.py:function.")
]
Evaluation = Annotated[
    str | None,
    typer.Option(
        help="What to compare on: a folder of pictures with a sub-folder for each class, .npz with an array `labels`, "
        "or file.py:function that yields (inputs, labels)."
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        metavar="accuracy,f1",
        help="What to measure on labelled data: accuracy, top-5 accuracy, precision, recall, f1, mse, mae; "
        "the first one is what --max-drop is about.",
    ),
]
TrainingData = Annotated[str | None, typer.Option("--training", help="What to train on, as --evaluation takes it.")]
Preprocess = Annotated[
    str | None,
    typer.Option(help="How pictures become inputs: resize=256,crop=224,mean=0.485:0.456:0.406,std=..."),
]
Precision = Annotated[
    str | None, typer.Option(help="fp32, fp16, int8, int16x8, dynamic-int8, weight-int8 or weight-int4.")
]
Effort = Annotated[
    str | None, typer.Option(help="How hard to work for int8 accuracy: fast, balanced or best.  [default: balanced]")
]
Estimator = Annotated[
    str | None,
    typer.Option(help="How to find activation ranges: minmax, moving-average, percentile, mse, entropy or measured."),
]
IoDtype = Annotated[
    str | None, typer.Option(help="Type of the artifacts' inputs and outputs: float32, or int8 for quantized numbers.")
]
IoLayout = Annotated[str | None, typer.Option(help="Layout of image inputs and outputs in TFLite: auto, nhwc or nchw.")]
MinAgreement = Annotated[
    float | None,
    typer.Option(
        help="Least share of samples with the original's argmax; layers are kept in float to reach it.  [default: 0.95]"
    ),
]
MinSqnr = Annotated[
    float | None,
    typer.Option(help="Least signal-to-noise ratio of the outputs in dB; layers are kept in float to reach it."),
]
MaxDrop = Annotated[
    str | None,
    typer.Option(
        metavar="0.5%",
        help="Largest loss of the metric, as a share of the original's or as a number; "
        "layers are kept in float to stay within it.",
    ),
]
MaxSize = Annotated[
    str | None,
    typer.Option(metavar="5MB", help="Size limit of each artifact; layers that int8 hurts stay in float within it."),
]
MaxLatency = Annotated[
    str | None,
    typer.Option(
        metavar="12ms",
        help="Limit of an inference as estimated for the target; layers that int8 hurts stay in float within it.",
    ),
]
Islands = Annotated[
    str | None,
    typer.Option("--island", help="What layers kept out of int8 compute in: float32 or int16x8.  [default: float32]"),
]
KeepFloat = Annotated[
    list[str] | None,
    typer.Option("--keep-float", metavar="LAYER", help="A node or torch module to keep in float; repeatable."),
]
DataFree = Annotated[bool, typer.Option("--data-free", help="Calibrate on made-up inputs if there are no real ones.")]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="NAME=1x3x224x224",
        help="Shape of an input, fixed or with dynamic dimensions such as ids=batch:1xseq:32; repeatable.",
    ),
]
Constants = Annotated[
    list[str] | None,
    typer.Option("--constant", metavar="NAME=16000", help="Make an input of an .onnx file a constant; repeatable."),
]
ResultFolder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder that compress or convert wrote, or one artifact.")
]
