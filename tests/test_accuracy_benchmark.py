"""The arithmetic of `benchmarks/accuracy.py`: intervals, what is kept between runs, and the table."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
accuracy = importlib.import_module("accuracy")

REFERENCE = np.eye(4)[[0, 1, 2, 3]]
CASE = SimpleNamespace(decide=lambda outputs: outputs.argmax(axis=-1), labels=np.array([0, 1, 2, 0]))


def test_a_route_that_decides_alike_loses_nothing() -> None:
    found = accuracy.compare(CASE, REFERENCE, 0.5 * REFERENCE, 2.0)
    assert (found.agreement, found.metric, found.margin, found.seconds) == (1.0, 0.75, 0.0, 2.0)
    assert found.sqnr == pytest.approx(10 * np.log10(4))


def test_the_margin_counts_samples_on_which_one_is_right() -> None:
    found = accuracy.compare(CASE, REFERENCE, np.eye(4)[[1, 1, 2, 0]], 0.0)
    assert (found.agreement, found.metric) == (0.5, 0.75)  # one lost, one won
    assert found.margin == pytest.approx(1.96 * np.sqrt(2) / 4)


def test_without_labels_there_is_no_metric() -> None:
    case = SimpleNamespace(decide=CASE.decide, labels=None)
    assert accuracy.compare(case, REFERENCE, REFERENCE, 0.0).metric is None


def test_a_tool_that_fails_is_a_result() -> None:
    def make() -> None:
        raise accuracy.MissingPeerError("not installed")

    assert accuracy.attempt(CASE, REFERENCE, make) == "MissingPeerError: not installed"


def test_the_table_is_of_what_was_kept(tmp_path: Path) -> None:
    results = accuracy.Results(tmp_path, "net")
    results.add("float", 0.9)
    results.add("held out", 1000)
    for seed, metric in enumerate((0.88, 0.9)):
        results.add(f"edgecomp fast, {seed}", accuracy.Measured(0.99, 30.0, 1.0, metric, 0.004))
        results.add(f"ONNX Runtime MinMax, {seed}", accuracy.Measured(0.9, 20.0, 2.0, 0.8, 0.01))
        results.add(f"ONNX Runtime Entropy, {seed}", accuracy.Measured(0.9, 22.0, 2.0, 0.8, 0.01))
    results.add("held out from artifacts", 500)
    results.add("artifacts", {"tflite": (-0.2, 0.39), "onnxruntime": (0.0, 0.0), "mnn": (0.0, 0.0)})
    results.add("ai-edge-quantizer, 0", "MissingPeerError: not installed")
    lines = accuracy.table(["net", "other"], tmp_path)
    assert "| **net** (1000) | float | 90.0% | | | | |" in lines
    assert "| | edgecomp fast | 89.0% (88.0% - 90.0%) | 1.00 ± 0.40 | 99.0% | 30.0 dB | 1.0 s |" in lines
    assert "| | ai-edge-quantizer | MissingPeerError: not installed | | | | |" in lines
    of_peers = [line.split(" | ")[1] for line in lines if "80.0%" in line]
    assert of_peers == ["ONNX Runtime MinMax", "ONNX Runtime Entropy"]
    assert (
        "| | artifacts of balanced (500) | points from the simulation: "
        "LiteRT -0.20 ± 0.39, ONNX Runtime +0.00 ± 0.00, MNN +0.00 ± 0.00 | | | | |"
    ) in lines


def test_artifacts_are_compared_with_the_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([0, 1, 2, 3])
    case = SimpleNamespace(decide=CASE.decide, labels=labels, held_out=[(row,) for row in REFERENCE[:, None]])
    swapped = np.eye(4)[[1, 1, 2, 3]]
    runs = {"tflite": lambda batch: [batch[0] @ swapped], "mnn": lambda batch: [batch[0]]}
    monkeypatch.setattr(accuracy, "quantized", lambda *_: None)
    monkeypatch.setattr(accuracy, "Simulation", lambda *_, **__: SimpleNamespace(run=runs["mnn"]))
    monkeypatch.setattr(accuracy, "artifacts", lambda *_: runs)
    found = accuracy.distances(SimpleNamespace(case=case, folder=tmp_path))
    assert found == {"tflite": pytest.approx((-25.0, 49.0)), "mnn": (0.0, 0.0)}
