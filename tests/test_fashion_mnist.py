"""The example of Fashion-MNIST, on noise in the format of its files."""

import gzip
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from edgecomp.compression.pruning.proof import prunable

EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion_mnist.py"


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    generator = np.random.default_rng(0)
    for part, count in (("train", 128), ("t10k", 130)):
        pixels = generator.integers(0, 256, (count, 28, 28), np.uint8).tobytes()
        numbers = generator.integers(0, 10, count, np.uint8).tobytes()
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pixels))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + numbers))
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    monkeypatch.setenv("FASHION_MNIST_WEIGHTS", str(tmp_path / "weights"))
    spec = importlib.util.spec_from_file_location("fashion_mnist_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["model", "mobile"])
def test_a_network_is_trained_once_and_then_read(task: ModuleType, name: str) -> None:
    first, second = getattr(task, name)(), getattr(task, name)()
    example = task.example_inputs()
    assert example[0].shape == (1, 1, 28, 28)
    assert torch.equal(first(*example), second(*example))
    assert not first.training
    # Everything but the outputs can be pruned, through residuals, depthwise layers and squeeze-and-excitation.
    coupling = prunable(first, example)
    assert [*coupling.fixed.values()] == ["an output of the model"]


def test_the_data_are_complete(task: ModuleType) -> None:
    assert [len(numbers) for _, numbers in task.train_data()] == [128]
    assert [len(numbers) for _, numbers in task.evaluation_data()] == [128, 2]
    assert sum(len(inputs[0]) for inputs in task.calibration_data()) == 128
    outputs = torch.eye(10)[task.numbers_of("t10k")]
    assert task.metric(outputs, task.numbers_of("t10k")) == 1.0


def test_missing_data_are_named_with_their_package(task: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist"):
        task.example_inputs()
