"""`edgecomp sensitivity` as its user sees it."""

import json
from pathlib import Path

import pytest
from conftest import Run

TASK = """
import torch
def model():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)
    )
    with torch.no_grad():
        net[0].weight[8:] *= 1e-4  # half of the first layer is hardly there
        net[0].bias[8:] = 0
    return net.eval()
def example_inputs():
    return (torch.ones(1, 8),)
def calibration_data():
    generator = torch.Generator().manual_seed(0)
    return ((torch.randn(1, 8, generator=generator),) for _ in range(32))
"""

LABELS = """
def train_data():
    for (inputs,) in calibration_data():
        yield (inputs,), model()(inputs).argmax(1)
def metric(outputs, labels):
    return float((outputs.argmax(1) == labels).float().mean())
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    file = tmp_path / "task.py"
    file.write_text(TASK)
    return file


def test_the_most_sensitive_layer_comes_first(edgecomp: Run, task: Path) -> None:
    result = edgecomp("sensitivity", task, "--shares", "0.5,0.25")
    assert result.exit_code == 0, result.stderr
    first, headings, _, worst, least, *_ = result.stdout.splitlines()
    assert first.startswith("task: likeness 1.0000")
    assert headings.split() == ["layer", "channels", "-25%", "-50%", "MACs", "left"]
    assert worst.split()[:2] == ["2", "16"]
    assert least.split()[:4] == ["0", "16", "1.0000", "1.0000"]
    # 128 + 256 + 64 multiplications, and without half of the first layer 64 + 128 + 64.
    assert least.split()[-1] == f"{256 / 448:.1%}"
    assert "left alone: 4.weight: an output of the model" in result.stdout


def test_json_has_every_point_and_the_task_s_metric_where_there_are_labels(edgecomp: Run, task: Path) -> None:
    task.write_text(TASK + LABELS)
    document = json.loads(edgecomp("sensitivity", task, "--criterion", "taylor", "--json").stdout)
    assert (document["measure"], document["quality"], document["criterion"]) == ("metric", 1.0, "taylor")
    (least,) = (layer for layer in document["layers"] if layer["name"] == "0")
    assert least["layers"] == ["0", "2"]
    assert [point["share"] for point in least["points"]] == [0.25, 0.5, 0.75]
    assert least["points"][1] == {"share": 0.5, "quality": 1.0, "macs": 256 / 448, "parameters": 284 / 484}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shares", "0.5,1.0"], "numbers between 0 and 1"),
        (["--shares", "half"], "numbers separated by commas"),
        (["--criterion", "beauty"], "geometric-median"),
        (["--criterion", "taylor"], "training data, to see what a removal does to the loss"),
    ],
)
def test_what_cannot_be_measured(edgecomp: Run, task: Path, options: list[str], words: str) -> None:
    result = edgecomp("sensitivity", task, *options)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_graph_has_no_channels_to_remove(edgecomp: Run, tmp_path: Path) -> None:
    import numpy as np
    from conftest import save_onnx
    from onnx import helper

    weights = {"w": np.ones((4, 2), np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    file = save_onnx(tmp_path / "model.onnx", nodes, {"x": [1, 4]}, {"y": [1, 2]}, weights)
    result = edgecomp("sensitivity", file)
    assert result.exit_code == 2
    assert "a torch module, whose channels can be removed" in result.stderr


def test_checks_and_diagnoses_refuse_recipes_that_train_without_data_at_once(edgecomp: Run, task: Path) -> None:
    recipe = task.with_name("recipe.toml")
    recipe.write_text(
        'schema = 1\ntarget = "raspberry-pi-4b"\n[[steps]]\nkind = "fine-tune"\n[[steps]]\nkind = "static-int8"\n'
    )
    result = edgecomp("diagnose", task, "--recipe", recipe)
    assert result.exit_code == 2
    assert "labelled inputs, which fine-tune learns from" in result.stderr
