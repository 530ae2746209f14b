"""EfficientNet-Lite0 with its ImageNet weights, from the torch module to three artifacts that agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgecomp

pytestmark = pytest.mark.models

ROOT = Path(__file__).parents[2]
TASK = ROOT / "examples" / "efficientnet_lite0.py"
FILES = {"model.tflite", "model.onnx", "model.mnn"}

#: The example with more photos. Over 600 the simulation agrees with the original on 98.8 %; of 300, one standard error
#: is 0.6 points, and rounding decides a handful of near ties one way or the other on each runtime and processor.
MORE_PHOTOS = f"""
import sys
import torch
sys.path.insert(0, {str(TASK.parent)!r})
from efficientnet_lite0 import *

def evaluation_data():
    return (((pixels,), torch.tensor([label])) for pixels, label in crops(range(10, 20), count=300, seed=1))
"""


def run(*arguments: object) -> dict[str, Any]:
    """A command's JSON."""
    command = [sys.executable, "-m", "edgecomp", *map(str, arguments), "--json"]
    result = subprocess.run(command, capture_output=True, check=True)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    home = tmp_path_factory.mktemp("lite0")
    (home / "task.py").write_text(MORE_PHOTOS)
    folder = home / "result"
    return folder, run("compress", home / "task.py", "--target", "raspberry-pi-4b", "-o", folder)


def test_every_artifact_agrees_with_the_original(compressed: tuple[Path, dict[str, Any]]) -> None:
    verification = compressed[1]["verification"]
    assert verification["samples"] == 300
    assert verification["metrics"]["accuracy"] > 0.85
    verdicts = {verdict["name"]: verdict for verdict in verification["verdicts"]}
    assert set(verdicts) == {"simulation", *FILES}
    for verdict in verdicts.values():
        assert verdict["against_original"][0]["agreement"] >= 0.98, verdict["name"]
        assert verdict["metrics"]["accuracy"] >= verification["metrics"]["accuracy"] - 0.02
    for name in FILES:
        assert verdicts[name]["against_simulation"][0]["mean_difference"] < 1.0


def test_the_artifacts_agree_with_each_other(compressed: tuple[Path, dict[str, Any]]) -> None:
    pairs = compressed[1]["verification"]["between"]
    assert len(pairs) == 3
    for pair in pairs:
        assert pair["comparisons"][0]["agreement"] >= 0.98, pair["artifacts"]


def test_no_artifact_has_a_float_island(compressed: tuple[Path, dict[str, Any]]) -> None:
    assert {entry["file"]: entry["islands"] for entry in compressed[1]["artifacts"]} == {name: [] for name in FILES}


def test_mnn_executes_in_int8(compressed: tuple[Path, dict[str, Any]]) -> None:
    operators = run("inspect", compressed[0] / "model.mnn")["operators"]
    assert {entry["precision"] for entry in operators if entry["op_type"].startswith("Convolution")} == {"int8"}


def test_each_artifact_is_a_quarter_of_the_float_model(compressed: tuple[Path, dict[str, Any]]) -> None:
    for name in FILES:
        assert (compressed[0] / name).stat().st_size < 5.5e6  # 4.65 M parameters


def test_integer_nhwc_inputs_leave_nothing_but_int8_operators(tmp_path: Path) -> None:
    options = ("--formats", "tflite", "--io-dtype", "int8")
    run("compress", TASK, "--target", "raspberry-pi-4b", "-o", tmp_path / "result", *options)
    inspection = run("inspect", tmp_path / "result" / "model.tflite")
    assert {entry["precision"] for entry in inspection["operators"]} == {"int8"}
    names = {entry["op_type"] for entry in inspection["operators"]}
    assert not names & {"TRANSPOSE", "QUANTIZE", "DEQUANTIZE"}
    assert inspection["inputs"][0]["shape"] == [1, 224, 224, 3]
    assert inspection["inputs"][0]["dtype"] == inspection["outputs"][0]["dtype"] == "int8"


def test_an_artifact_takes_what_the_torch_module_takes(compressed: tuple[Path, dict[str, Any]]) -> None:
    import numpy as np

    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 224, 224)).astype(np.float32)
    for name in FILES:
        outputs = edgecomp.load(compressed[0] / name).predict(image)
        assert [array.shape for array in outputs.values()] == [(1, 1000)]
