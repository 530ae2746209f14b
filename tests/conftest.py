"""A tiny task, a tiny ONNX file, and one compressed result that most tests look at."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, settings
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner, Result

pytest_plugins = ["bundle_fixtures"]

# A shell's background job ignores Ctrl-C, and so would every process that a test starts to interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, and nothing else.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

TASK = """
import torch

print("a task may print what it likes")

def model():
    torch.manual_seed(1)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(8 * 6 * 6, 4),
    )
    return network.eval()

def example_inputs():
    return (torch.zeros(1, 3, 6, 6),)

def calibration_data():
    generator = torch.Generator().manual_seed(0)
    return ((torch.rand(4, 3, 6, 6, generator=generator),) for _ in range(5))

def evaluation_data():
    generator = torch.Generator().manual_seed(1)
    for index in range(6):
        yield (torch.rand(2, 3, 6, 6, generator=generator),), torch.tensor([index % 4, 1])

def metric(outputs, labels):
    return float((outputs.argmax(dim=1) == labels).float().mean())
"""

Run = Callable[..., Result]


@dataclass(frozen=True)
class Made:
    """A result folder, and what the command that made it printed."""

    folder: Path
    document: dict[str, Any]
    result: Result


@pytest.fixture(scope="session")
def edgecomp() -> Run:
    """Runs the command line in this process."""
    from edgecomp.cli import app

    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("task") / "task.py"
    path.write_text(TASK)
    return path


@pytest.fixture(scope="session")
def made(edgecomp: Run, task: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made") / "result"
    result = edgecomp("compress", task, "--target", "raspberry-pi-4b", "-o", folder, "--json")
    assert result.exit_code == 0, result.stderr
    return Made(folder, json.loads(result.stdout), result)


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution with a ReLU and a linear head: image (1, 2, 5, 5) -> scores (1, 3)."""
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(size=(4, 2, 3, 3)),
        "bias": random.normal(size=4),
        "matrix": random.normal(size=(4 * 5 * 5, 3)) / 10,
    }
    return save_onnx(
        tmp_path_factory.mktemp("onnx") / "small.onnx",
        [
            helper.make_node("Conv", ["image", "kernel", "bias"], ["features"], "conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["features"], ["positive"], "relu"),
            helper.make_node("Flatten", ["positive"], ["flat"], "flatten"),
            helper.make_node("MatMul", ["flat", "matrix"], ["scores"], "head"),
        ],
        {"image": [1, 2, 5, 5]},
        {"scores": [1, 3]},
        {name: array.astype(np.float32) for name, array in weights.items()},
    )


def save_onnx(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int]],
    outputs: dict[str, list[int]],
    weights: dict[str, Any],
) -> Path:
    def infos(tensors: dict[str, list[int]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in tensors.items()]

    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "net", infos(inputs), infos(outputs), constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path
