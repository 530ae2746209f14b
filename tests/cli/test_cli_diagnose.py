"""`edgecomp diagnose` as its user sees it."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, save_onnx
from onnx import helper


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A net of which one channel is a hundred times as large as the others, and its calibration data."""
    folder = tmp_path_factory.mktemp("spread")
    random = np.random.default_rng(0)
    factors = np.array([100, 1, 1, 1], np.float32)
    model = save_onnx(
        folder / "spread.onnx",
        [
            helper.make_node("Conv", ["image", "w1"], ["wide"], "backbone/wide"),
            helper.make_node("Relu", ["wide"], ["positive"], "relu"),
            helper.make_node("Conv", ["positive", "w2"], ["scores"], "head"),
        ],
        {"image": [1, 3, 6, 6]},
        {"scores": [1, 4, 6, 6]},
        {
            "w1": (random.normal(size=(4, 3, 1, 1)) * factors[:, None, None, None]).astype(np.float32),
            "w2": (random.normal(size=(4, 4, 1, 1)) / factors[None, :, None, None]).astype(np.float32),
        },
    )
    np.savez(folder / "data.npz", image=random.random((20, 3, 6, 6), np.float32))
    return model, folder / "data.npz"


def arguments(spread: tuple[Path, Path], *more: object) -> tuple[object, ...]:
    recipe = spread[0].with_name("plain.toml")  # without the passes that would mend the net
    recipe.write_text('schema = 1\ntarget = "raspberry-pi-4b"\n[[steps]]\nkind = "static-int8"\n')
    return ("diagnose", spread[0], "--recipe", recipe, "--calibration", spread[1], *more)


def test_the_worst_layer_comes_first_with_the_reason_and_the_cure(edgecomp: Run, spread: tuple[Path, Path]) -> None:
    result = edgecomp(*arguments(spread))
    assert result.exit_code == 0, result.stderr
    first, _, _, worst, *_ = result.stdout.splitlines()
    assert "dB; 2 of 3 layers cause 100% of the error" in first
    assert worst.startswith(("backbone/wide", "head"))
    assert "1 of 4 channels are far larger than the others" in result.stdout
    assert "cure: equalization" in result.stdout


def test_json_holds_every_layer_with_all_its_numbers(edgecomp: Run, spread: tuple[Path, Path]) -> None:
    document = json.loads(edgecomp(*arguments(spread, "--json", "--samples", "4")).stdout)
    assert document["batches"] == 4
    assert [layer["name"] for layer in sorted(document["layers"], key=lambda layer: layer["position"])] == [
        "image",
        "backbone/wide",
        "head",
    ]
    shares = [layer["share"] for layer in document["layers"]]
    assert shares == sorted(shares, reverse=True)
    (worst,) = [layer for layer in document["layers"] if layer["name"] == "backbone/wide"]
    assert worst["findings"][0]["cause"] == "outlier-channels"
    assert 0 < worst["used"] <= 1
    assert worst["range"][0] == 0.0
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("suffix", [".html", ".svg"])
def test_the_picture_shows_every_layer(edgecomp: Run, spread: tuple[Path, Path], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"page{suffix}"
    assert edgecomp(*arguments(spread, "--draw", path)).exit_code == 0
    text = path.read_text()
    assert text.count("<rect") == text.count("<circle") == 3
    assert "backbone/wide" in text
    assert ("<table>" in text) == (suffix == ".html")
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_weights_alone_can_be_diagnosed(edgecomp: Run, spread: tuple[Path, Path]) -> None:
    document = json.loads(edgecomp(*arguments(spread, "--precision", "weight-int8", "--json")).stdout)
    assert document["layers"][0]["name"] == "head"
    assert document["layers"][0]["range"] is None


def test_float_has_nothing_to_diagnose(edgecomp: Run, spread: tuple[Path, Path]) -> None:
    result = edgecomp(*arguments(spread, "--precision", "fp16"))
    assert result.exit_code == 2
    assert "no layer in integers" in result.stderr
    assert "--precision int8" in result.stderr


def test_a_drawing_of_another_kind_is_refused_before_any_work(edgecomp: Run, spread: tuple[Path, Path]) -> None:
    result = edgecomp(*arguments(spread, "--draw", "page.png"))
    assert result.exit_code == 2
    assert "suffix '.png'" in result.stderr


def test_a_result_is_diagnosed_with_its_own_recipe(edgecomp: Run, spread: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = arguments(spread)[3]
    data = ("--calibration", spread[1])
    formats = ("--formats", "tflite,onnxruntime")
    made = edgecomp("compress", spread[0], "--recipe", recipe, *data, "-o", tmp_path / "out", *formats)
    folder = tmp_path / ("out" if made.exit_code == 0 else "out.rejected")
    result = edgecomp("diagnose", spread[0], "--result", folder, *data, "--json")
    document = json.loads(result.stdout)
    assert document["verdict"].endswith("2 of 3 layers cause 100% of the error")
    assert [(each["file"], each["same"]) for each in document["artifacts"]] == [
        ("model.tflite", True),
        ("model.onnx", True),
    ]
    assert all(each["runtime_share"] < 0.1 for each in document["artifacts"])
    np.savez(tmp_path / "other.npz", image=np.random.default_rng(1).random((20, 3, 6, 6), np.float32) * 2)
    shown = edgecomp("diagnose", spread[0], "--result", folder, "--calibration", tmp_path / "other.npz").stdout
    assert "model.tflite is not what this source and data make now" in shown
    assert "its runtime computes what the simulation does" in shown


def test_a_result_has_a_recipe_of_its_own(edgecomp: Run, spread: tuple[Path, Path], tmp_path: Path) -> None:
    result = edgecomp("diagnose", spread[0], "--result", tmp_path, "--effort", "best", "--data-free")
    assert result.exit_code == 2
    assert "--effort, --data-free" in result.stderr
    nothing = edgecomp("diagnose", spread[0], "--result", tmp_path)
    assert nothing.exit_code == 2
    assert "manifest.json" in nothing.stderr


def test_a_result_folder_is_no_source(edgecomp: Run, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    result = edgecomp("diagnose", tmp_path, "--target", "raspberry-pi-4b")
    assert result.exit_code == 2
    assert f"edgecomp diagnose SOURCE --result {tmp_path}" in result.stderr.replace("\n", "")
