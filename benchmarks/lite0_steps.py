"""Steps of the main job alone: calibration against bare passes of the float graph, and graph to TFLite."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from figures import Figure
from lite0_command import EXAMPLE

if TYPE_CHECKING:
    from edgecomp.frontends import Source
    from edgecomp.model import CompressedModel


@dataclass(frozen=True)
class Subject:
    """The network, as the pipeline has it, and its photos.

    Attributes:
        source: As it was loaded.
        model: Simplified, float.
        photos: To calibrate on, each (1, 3, 224, 224).
        labelled: To judge by: photo and label.
    """

    source: Source
    model: CompressedModel
    photos: list[Any]
    labelled: list[tuple[Any, int]]


def load_subject() -> Subject:
    """Loads the example with everything it has."""
    from edgecomp.data import collect_calibration, collect_evaluation
    from edgecomp.frontends import load_source
    from edgecomp.graph.simplify import simplify
    from edgecomp.model import CompressedModel

    source = load_source(EXAMPLE)
    assert source.calibration_data is not None, "the example calibrates"
    assert source.evaluation_data is not None, "the example evaluates"
    specs = source.input_specs
    calibration = collect_calibration(source.calibration_data(), specs, subject="the calibration data")
    evaluation = collect_evaluation(source.evaluation_data(), specs, subject="the evaluation data")
    labelled = [(inputs[0], int(labels[0])) for inputs, labels in evaluation]
    return Subject(source, simplify(CompressedModel(source.graph)), [batch[0] for batch in calibration], labelled)


def step_figures(subject: Subject, rounds: int, folder: Path) -> tuple[list[Figure], CompressedModel, float]:
    """Calibration against bare passes, and graph to TFLite; with the quantized model and the time that it took."""
    import onnx_ir as ir
    import onnxruntime

    from edgecomp.converter import ConversionOptions, load_converter
    from edgecomp.quantization.static import quantize_static

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    content = ir.to_proto(subject.model.graph).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    tflite = load_converter("tflite")

    def bare() -> None:
        for photo in subject.photos:
            session.run(None, {name: photo})

    batches = [(photo,) for photo in subject.photos]
    quantized = quantize_static(subject.model, batches)
    bare()
    passes, calibrations, writes, float_writes = [], [], [], []
    for _ in range(rounds):
        passes.append(timed(bare))
        calibrations.append(timed(lambda: quantize_static(subject.model, batches)))
        write_int8 = lambda: tflite.convert(quantized, folder / "int8.tflite", ConversionOptions())  # noqa: E731
        write_float = lambda: tflite.convert(subject.model, folder / "float.tflite", ConversionOptions())  # noqa: E731
        writes.append(timed(write_int8))
        float_writes.append(timed(write_float))
    count = len(subject.photos)
    figures = [
        Figure.of("graph -> int8 TFLite", writes, "s", 0.4),
        Figure.of("graph -> float TFLite", float_writes, "s", 0.4),
        Figure.of(f"{count} bare passes in ONNX Runtime, session ready", passes, "s"),
        Figure.of(f"quantize_static on {count} photos, all of it", calibrations, "s"),
        Figure.of("calibration / bare passes", [c / p for c, p in zip(calibrations, passes, strict=True)], "x", 2.0),
    ]
    return figures, quantized, median(calibrations)


def timed(function: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
