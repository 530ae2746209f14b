"""The ways from a float graph to int8 that `accuracy.py` compares: edgecomp's efforts, and other tools."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from accuracy_cases import Batch, Case
from peers import MissingPeerError, run_peer

import edgecomp
from edgecomp.arrays import Array
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import StaticQuantization
from edgecomp.quantization.synthetic import synthetic_inputs
from edgecomp.recovery.effort import DEFAULT, INT8_STEPS
from edgecomp.step import GraphStep
from edgecomp.target import load_target
from edgecomp.workbench import Workbench

Run = Callable[[Batch], Sequence[Array]]


@dataclass(frozen=True)
class Setting:
    """What a route works on.

    Attributes:
        case: The network and its data.
        model: Its float graph.
        seed: Which calibration sample.
        folder: For files, its own.
        peer_python: An interpreter that has ai-edge-quantizer.
    """

    case: Case
    model: CompressedModel
    seed: int
    folder: Path
    peer_python: str

    @property
    def names(self) -> list[str]:
        """Of the inputs."""
        return [value.name or "" for value in self.model.graph.graph.inputs]

    def feeds(self) -> list[dict[str, Array]]:
        """The calibration sample, by input name."""
        return [dict(zip(self.names, batch, strict=True)) for batch in self.case.draw(self.seed)]


def quantized(
    steps: Sequence[GraphStep], setting: Setting, calibration: Sequence[Batch] | None = None
) -> CompressedModel:
    """The model after some steps, calibrated on the setting's sample or on something else."""
    bench = Workbench(
        setting.case.source,
        load_target("raspberry-pi-4b"),
        setting.seed,
        setting.case.draw(setting.seed) if calibration is None else calibration,
        following=tuple(step for step in steps if step.stage in {"precision", "refinement"}),
    )
    model = setting.model
    for step in steps:
        model = step.apply(model, bench)
    return model


def _simulated(steps: Sequence[GraphStep], setting: Setting) -> Run:
    return Simulation(quantized(steps, setting), threads=1).run


def _without_data(setting: Setting) -> Run:
    """The default effort, calibrated on what `--data-free` makes up."""
    made_up = list(synthetic_inputs(setting.case.source, setting.seed))
    return Simulation(quantized(INT8_STEPS[DEFAULT], setting, made_up), threads=1).run


def _onnxruntime(method: str, setting: Setting) -> Run:
    """ONNX Runtime's own tool, with a scale for each channel of the weights, as its documentation advises."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.items: Iterator[dict[str, Array]] = iter(setting.feeds())

        def get_next(self) -> dict[str, Any] | None:
            return next(self.items, None)

    source, target = setting.folder / "float.onnx", setting.folder / f"{method}.onnx"
    ir.save(setting.model.graph, source)
    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static(
            str(source),
            str(target),
            Reader(),
            per_channel=True,
            calibrate_method=CalibrationMethod[method],
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # what the file says, as in our simulation
    session = onnxruntime.InferenceSession(str(target), options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, dict(zip(setting.names, batch, strict=True)))


#: Runs in the interpreter that `--peer-python` names.
_AI_EDGE = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import qtyping, quantizer, recipe
source, data, target = sys.argv[1:]
signatures = Interpreter(model_path=source).get_signature_list()
key = next(iter(signatures))
tool = quantizer.Quantizer(source, recipe.static_wi8_ai8())
for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):  # float outside, as ours
    tool.update_quantization_recipe(".*", border, algorithm_key="no_quantize")
arrays = np.load(data)
count = len(arrays[arrays.files[0]])
samples = [{name: arrays[name][index] for name in arrays.files} for index in range(count)]
tool.quantize(tool.calibrate({key: samples}), serialize_to_path=target)
"""


def _ai_edge(setting: Setting) -> Run:
    """Google's quantizer with its static recipe, on our float file, which keeps the source's layout at the border."""
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('ai_edge_quantizer') is None)"
    # A PYTHONPATH that helps this interpreter would hide the other one's own packages.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if subprocess.run([setting.peer_python, "-c", probe], env=environment, check=False).returncode:
        raise MissingPeerError("not installed: pip install ai-edge-quantizer, there or where --peer-python says")
    source, data, target = (setting.folder / name for name in ("float.tflite", "data.npz", "peer.tflite"))
    load_converter("tflite").convert(setting.model, source, ConversionOptions(io_layout="nchw"))
    feeds = setting.feeds()
    np.savez(data, **{name: np.stack([feed[name] for feed in feeds]) for name in setting.names})
    run_peer([setting.peer_python, "-c", _AI_EDGE, str(source), str(data), str(target)], environment, target)
    return _artifact(target)


#: In a process of its own: a C++ error ends it. The console script of the same name installs packages and sends data.
_MNN_QUANT = "import _tools, sys; _tools.mnnquant(['mnnquant', *sys.argv[1:]])"


def _mnn(setting: Setting) -> Run:
    """MNN's own calibration, which reads pictures."""
    from PIL import Image

    pictures = setting.case.pictures
    if pictures is None:
        raise MissingPeerError("calibrates on pictures, which these inputs are not")
    folder, source, target = (setting.folder / name for name in ("pictures", "float.mnn", "peer.mnn"))
    folder.mkdir()
    for index, (array,) in enumerate(setting.case.draw(setting.seed)):
        pixels = np.rint(array[0].transpose(1, 2, 0) / pictures.normal + pictures.mean).astype(np.uint8)
        Image.fromarray(pixels[:, :, 0] if pictures.mode == "GRAY" else pixels).save(folder / f"{index}.png")
    channels, height, width = array.shape[1:]
    settings = {
        "format": pictures.mode,
        "mean": [pictures.mean] * channels,
        "normal": [pictures.normal] * channels,
        "width": width,
        "height": height,
        "path": f"{folder}/",
        "used_image_num": index + 1,
        "feature_quantize_method": "KL",
        "weight_quantize_method": "MAX_ABS",
        "input_type": "image",
    }
    (setting.folder / "mnnquant.json").write_text(json.dumps(settings))
    load_converter("mnn").convert(setting.model, source, ConversionOptions())
    command = [sys.executable, "-c", _MNN_QUANT, str(source), str(target), str(setting.folder / "mnnquant.json")]
    run_peer(command, dict(os.environ), target)
    return _artifact(target)


def _artifact(path: Path) -> Run:
    """An artifact in its own runtime."""
    loaded = edgecomp.load(path)
    return lambda batch: list(loaded.predict(batch).values())


def artifacts(model: CompressedModel, folder: Path) -> dict[str, Run]:
    """Format -> the model's artifact in its own runtime."""
    files = {"tflite": "model.tflite", "onnxruntime": "model.onnx", "mnn": "model.mnn"}
    options = ConversionOptions()
    return {
        name: _artifact(load_converter(name).convert(model, folder / file, options).path)
        for name, file in files.items()
    }


#: By the name in the table.
ROUTES: Mapping[str, Callable[[Setting], Run]] = {
    "plain int8": partial(_simulated, (StaticQuantization(estimator="minmax", correct_bias=False),)),
    **{f"edgecomp {effort}": partial(_simulated, steps) for effort, steps in INT8_STEPS.items()},
    "edgecomp without data": _without_data,
    **{
        f"ONNX Runtime {method}": partial(_onnxruntime, method) for method in ("MinMax", "Entropy", "Percentile")
    },
    "ai-edge-quantizer": _ai_edge,
    "MNN's tool": _mnn,
}  # fmt: skip
