"""Other tools' int8 artifacts of EfficientNet-Lite0, made from our float files and the same photos."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lite0_steps import Subject


class MissingPeerError(Exception):
    """A peer that is not installed, or does not work; the message says which."""


def quantize_with_onnxruntime(source: Path, subject: Subject, folder: Path) -> Path:
    """ONNX Runtime's own tool as it comes, but for the weights: one scale a channel, as its documentation advises."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            name = subject.model.graph.graph.inputs[0].name
            self._items = iter([{name: photo} for photo in subject.photos])

        def get_next(self) -> dict[str, Any] | None:
            return next(self._items, None)

    target = folder / "peer.onnx"
    quantize_static(
        str(source),
        str(target),
        Reader(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return target


#: Runs in the interpreter that `--peer-python` names.
_AI_EDGE = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import qtyping, quantizer, recipe
source, photos, target = sys.argv[1:]
signatures = Interpreter(model_path=source).get_signature_list()
key, (name, *_) = next((key, value["inputs"]) for key, value in signatures.items())
tool = quantizer.Quantizer(source, recipe.static_wi8_ai8())
for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):  # float outside, as ours
    tool.update_quantization_recipe(".*", border, algorithm_key="no_quantize")
seen = tool.calibrate({key: [{name: photo} for photo in np.load(photos)]})
tool.quantize(seen, serialize_to_path=target)
"""


def quantize_with_ai_edge(source: Path, subject: Subject, folder: Path, python: str) -> Path:
    """Google's quantizer on our float file, with its static recipe."""
    import numpy as np

    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('ai_edge_quantizer') is None)"
    # A PYTHONPATH that helps this interpreter would hide the other one's own packages.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if subprocess.run([python, "-c", probe], env=environment, check=False).returncode:
        raise MissingPeerError("not installed: pip install ai-edge-quantizer, there or where --peer-python says")
    photos, target = folder / "photos.npy", folder / "peer.tflite"
    np.save(photos, np.stack([photo.transpose(0, 2, 3, 1) for photo in subject.photos]))
    run_peer([python, "-c", _AI_EDGE, str(source), str(photos), str(target)], environment, target)
    return target


#: In a process of its own: a C++ error ends it. The console script of the same name installs packages and sends data.
_MNN_QUANT = "import _tools, sys; _tools.mnnquant(['mnnquant', *sys.argv[1:]])"


def quantize_with_mnn(source: Path, subject: Subject, folder: Path) -> Path:
    """MNN's own calibration, which reads pictures."""
    import numpy as np
    from PIL import Image

    pictures, target, configuration = folder / "pictures", folder / "peer.mnn", folder / "mnnquant.json"
    pictures.mkdir()
    for index, photo in enumerate(subject.photos):
        pixels = np.rint(photo[0].transpose(1, 2, 0) * 128 + 127).astype(np.uint8)  # the example's (x - 127) / 128
        Image.fromarray(pixels).save(pictures / f"{index}.png")
    settings: dict[str, Any] = {
        "format": "RGB",
        "mean": [127.0] * 3,
        "normal": [1 / 128] * 3,
        "width": 224,
        "height": 224,
        "path": f"{pictures}/",
        "used_image_num": len(subject.photos),
        "feature_quantize_method": "KL",
        "weight_quantize_method": "MAX_ABS",
        "input_type": "image",
    }
    configuration.write_text(json.dumps(settings))
    command = [sys.executable, "-c", _MNN_QUANT, str(source), str(target), str(configuration)]
    run_peer(command, dict(os.environ), target)
    return target


def run_peer(command: Sequence[str], environment: dict[str, str], target: Path) -> None:
    """Runs another tool, and makes sure that it wrote a file.

    Raises:
        MissingPeerError: It failed; the message has its last line.
    """
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if process.returncode or not target.exists():
        words = (process.stderr.strip() or process.stdout.strip() or "no output").splitlines()[-1]
        raise MissingPeerError(f"failed with exit code {process.returncode}: {words}")
