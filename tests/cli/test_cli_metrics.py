"""Metrics, classes and changed answers on the command line, with a network whose answers are known beforehand."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, save_onnx
from onnx import helper
from PIL import Image

RED, GREEN, BLUE = (250, 10, 10), (10, 250, 10), (10, 10, 250)
TARGET = ("--target", "raspberry-pi-4b")
PREPROCESS = ("--preprocess", "crop=4")


@pytest.fixture(scope="module", autouse=True)
def wide_terminal() -> Iterator[None]:
    """Tables of many columns stand on one line each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "160")
        yield


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gives a picture the class of its strongest channel: image (1, 3, 4, 4) -> scores (1, 3)."""
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["mixed"], "conv"),
        helper.make_node("GlobalAveragePool", ["mixed"], ["means"], "pool"),
        helper.make_node("Flatten", ["means"], ["scores"], "flatten"),
    ]
    kernel = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    file = tmp_path_factory.mktemp("colours") / "colours.onnx"
    return save_onnx(file, nodes, {"image": [1, 3, 4, 4]}, {"scores": [1, 3]}, {"kernel": kernel})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four red ones of which one is called green, three green ones, three blue ones."""
    folder = tmp_path_factory.mktemp("photos")
    for name, contents in {"0": [RED] * 3, "1": [GREEN] * 3 + [RED], "2": [BLUE] * 3}.items():
        (folder / name).mkdir()
        for index, colour in enumerate(contents):
            Image.new("RGB", (4, 4), colour).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def result(edgecomp: Run, colours: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("result") / "out"
    data = ("--calibration", photos, "--evaluation", photos, *PREPROCESS)
    made = edgecomp("compress", colours, *TARGET, *data, "--metric", "accuracy,top-2,f1,mse", "-o", folder)
    assert made.exit_code == 2, made.stdout  # scores are no labels
    assert "labels of the output's shape" in made.stderr
    made = edgecomp("compress", colours, *TARGET, *data, "--metric", "accuracy,top-2,f1", "-o", folder)
    assert made.exit_code == 0, made.stderr
    headings, _, original = made.stdout.splitlines()[1:4]
    assert headings.split()[1:5] == ["accuracy", "top-2", "accuracy", "f1"]
    assert original.split()[3:5] == ["0.9000", "1.0000"]
    assert "top-2 accuracy: share of samples whose label is among the 2 largest scores" in made.stdout
    return folder


def test_the_manifest_has_all_of_it(result: Path) -> None:
    found = json.loads((result / "manifest.json").read_text())["verification"]
    f1 = np.mean([6 / 7, 6 / 7, 1])
    assert found["metrics"] == pytest.approx({"accuracy": 0.9, "top-2 accuracy": 1.0, "f1": f1})
    assert all(verdict["metrics"] == found["metrics"] for verdict in found["verdicts"])
    assert len(found["churn"]) == 6
    unchanged = {"samples": 10, "changed": 0, "right_to_wrong": 0, "wrong_to_right": 0, "wrong_to_wrong": 0}
    assert all(pair.items() >= unchanged.items() for pair in found["churn"])
    red, green, _ = found["classes"]
    assert (red["class"], red["name"], red["support"]) == (0, None, 3)
    assert green["scores"]["model.mnn"] == pytest.approx({"precision": 1.0, "recall": 0.75, "f1": 6 / 7}, abs=1e-6)


def test_pictures_in_classes_are_measured_by_accuracy(
    edgecomp: Run, colours: Path, photos: Path, tmp_path: Path
) -> None:
    data = ("--calibration", photos, "--evaluation", photos, *PREPROCESS, "--formats", "onnxruntime")
    made = edgecomp("compress", colours, *TARGET, *data, "-o", tmp_path / "out", "--json")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout)["verification"]["metrics"] == pytest.approx({"accuracy": 0.9})


def verified(edgecomp: Run, result: Path, *options: Any) -> dict[str, Any]:
    """The document of `edgecomp verify`."""
    answer = edgecomp("verify", result, *options, "--json")
    assert answer.exit_code == 0, answer.stderr
    return dict(json.loads(answer.stdout))


def test_verify_measures_what_was_measured_before(edgecomp: Run, result: Path, photos: Path) -> None:
    found = verified(edgecomp, result, "--data", photos)  # the preprocessing is in the manifest
    recorded = json.loads((result / "manifest.json").read_text())["verification"]
    assert found["metrics"] == dict.fromkeys(("model.tflite", "model.onnx", "model.mnn"), recorded["metrics"])
    assert [report["support"] for report in found["classes"]] == [3, 4, 3]
    assert {pair["churn"]["changed"] for pair in found["pairs"] if pair["reference"] != "original"} == {0}


def test_verify_measures_the_original_too(edgecomp: Run, result: Path, colours: Path, tmp_path: Path) -> None:
    """Half of the pictures are nearly grey, so that rounding decides; the labels say that the original is right."""
    random = np.random.default_rng(0)
    grey = (0.5 + random.normal(scale=1e-4, size=(40, 3, 1, 1)) + np.zeros((40, 3, 4, 4))).astype(np.float32)
    labels = grey.mean(axis=(2, 3)).argmax(axis=1)
    np.savez(tmp_path / "data.npz", image=grey, labels=labels)
    options = ("--data", tmp_path / "data.npz", "--metric", "accuracy", "--original", colours)
    found = verified(edgecomp, result, *options, "--per-class")
    assert found["metrics"]["original"] == {"accuracy": 1.0}
    pair = next(
        each for each in found["pairs"] if (each["reference"], each["candidate"]) == ("original", "model.tflite")
    )
    assert pair["churn"]["right_to_wrong"] == pair["churn"]["changed"] > 5
    assert found["metrics"]["model.tflite"]["accuracy"] == pytest.approx(1 - pair["churn"]["changed"] / 40)
    assert all(each["scores"]["original"]["f1"] == 1 for each in found["classes"])
    shown = edgecomp("verify", result, *options, "--per-class").stdout
    assert f"original / model.tflite: {pair['churn']['changed']} of 40 answers changed" in shown
    assert "those first that lost most F1 against the original" in shown


def test_classes_on_record_are_shown_without_data(edgecomp: Run, result: Path) -> None:
    shown = edgecomp("verify", result, "--per-class")
    assert shown.exit_code == 0, shown.stderr
    assert " 4   1.000 0.750 0.857" in shown.stdout
    assert len(verified(edgecomp, result, "--per-class")["classes"]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--metric", "accuracy"],
            "--metric\n  expected: data with labels, to measure metrics on\n  actual:   no data",
        ),
        (["--metric", "accuracy", "--data", "{plain}"], "actual:   inputs without labels"),
        (["--per-class", "--data", "{plain}"], "labels that are no classes, or none"),
        (["--metric", "acuracy", "--data", "{plain}"], "write accuracy"),
        (["--original", "{other}"], "expected: the model that the folder was made of, with image, scores"),
    ],
)
def test_what_cannot_be_measured(edgecomp: Run, result: Path, tmp_path: Path, options: list[str], message: str) -> None:
    np.savez(tmp_path / "plain.npz", image=np.ones((2, 3, 4, 4), np.float32))
    relu = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    other = save_onnx(tmp_path / "other.onnx", relu, {"x": [1, 3]}, {"y": [1, 3]}, {})
    given = [option.format(plain=tmp_path / "plain.npz", other=other) for option in options]
    answer = edgecomp("verify", result, *given)
    assert answer.exit_code == 2
    assert message in answer.stderr
