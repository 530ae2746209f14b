"""Calibration without data: what is made up, how good it is, and that it is marked."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgecomp.quantization.synthetic import noise

TASK = """
import torch

def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 4),
    ).eval()

def example_inputs():
    return (torch.zeros(1, 3, 16, 16),)

def evaluation_data():
    generator = torch.Generator().manual_seed(1)
    for image in torch.randn(40, 1, 3, 16, 16, generator=generator):
        yield (image,), torch.tensor([0])

def metric(outputs, labels):
    return 1.0
"""

WORDS = """
import torch

def model():
    return torch.nn.Sequential(torch.nn.Embedding(50, 8), torch.nn.Flatten(), torch.nn.Linear(32, 4)).eval()

def example_inputs():
    return (torch.zeros(1, 4, dtype=torch.int64),)
"""


def test_noise_for_images_has_most_of_its_power_in_low_frequencies() -> None:
    image = noise((1, 3, 64, 64), np.random.default_rng(0))
    power = (np.abs(np.fft.fft2(image)) ** 2).mean(axis=(0, 1))
    assert power[1:5, 1:5].mean() > 30 * power[20:32, 20:32].mean()
    assert (abs(image.mean()) < 1e-9, image.std()) == (True, pytest.approx(1.0))
    assert np.corrcoef(image[0, 0].ravel(), image[0, 1].ravel())[0, 1] > 0.7


def test_other_noise_is_white() -> None:
    row = noise((1, 4000), np.random.default_rng(0))
    assert (abs(row.mean()) < 0.1, row.std()) == (True, pytest.approx(1.0, abs=0.1))


def test_a_model_without_data_is_quantized_and_says_on_what(edgecomp: object, tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(TASK)
    options = ("--target", "raspberry-pi-4b", "--formats", "onnxruntime", "-o", tmp_path / "out", "--json")
    refused = edgecomp("compress", tmp_path / "task.py", *options)  # type: ignore[operator]
    assert refused.exit_code == 2
    assert "--data-free" in refused.stderr
    result = edgecomp("compress", tmp_path / "task.py", *options, "--data-free")  # type: ignore[operator]
    assert result.exit_code == 0, result.stderr
    manifest = json.loads(result.stdout)
    assert manifest["data"]["calibration"]["synthetic"] is True
    assert any(note.startswith("Ranges rest on 64 made-up inputs") for note in manifest["notes"])
    (kept,) = manifest["verification"]["verdicts"][0]["against_original"]
    assert kept["sqnr"] > 25, "noise has the ranges of noise"
    assert "data_free = true" in (tmp_path / "out" / "recipe.toml").read_text()


def test_words_cannot_be_made_up(edgecomp: object, tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(WORDS)
    result = edgecomp("compress", tmp_path / "task.py", "--target", "raspberry-pi-4b", "--data-free")  # type: ignore[operator]
    assert result.exit_code == 2
    for part in ("--data-free", "inputs of real numbers", "int64", "--precision dynamic-int8"):
        assert part in result.stderr
