"""`compress` from end to end."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import Made, save_onnx
from onnx import helper

import edgecomp
from edgecomp.benchmark import measure_local
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import ConversionError, DataError, OutputError, UnsupportedOperatorError, VerificationError
from edgecomp.recipe import Recipe, default_recipe
from edgecomp.system.isolation import run_isolated
from edgecomp.target import load_target
from edgecomp.verification import golden
from edgecomp.verification.tolerance import Tolerance

TARGET = "raspberry-pi-4b"


def batches(*shape: int, count: int = 6) -> Any:
    random = np.random.default_rng(1)
    return lambda: [(random.random(shape, np.float32),) for _ in range(count)]


def float_recipe(*formats: str) -> Recipe:
    return replace(default_recipe(load_target(TARGET), "fp32"), formats=formats)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_artifacts_keep_the_metric_and_agree_with_the_simulation(made: Made) -> None:
    verification = made.document["verification"]
    assert verification["samples"] == 12
    names = [verdict["name"] for verdict in verification["verdicts"]]
    assert names == ["simulation", "model.tflite", "model.mnn", "model.onnx"]
    for verdict in verification["verdicts"]:
        assert verdict["violations"] == []
        assert verdict["metrics"] == pytest.approx(verification["metrics"], abs=0.1)
        assert verdict["against_original"][0]["sqnr"] > 25
    for verdict in verification["verdicts"][1:]:
        assert verdict["against_simulation"][0]["max_difference"] <= 2


def test_the_same_recipe_and_seed_give_the_same_bytes(made: Made, task: Path, tmp_path: Path) -> None:
    recipe = edgecomp.load_recipe(made.folder / "recipe.toml")
    again = edgecomp.compress(task, recipe.target, tmp_path / "again", recipe=recipe)
    assert hashes(again.folder) == hashes(made.folder)
    assert set(hashes(made.folder)) == {
        "golden.npz",
        "manifest.json",
        "model.mnn",
        "model.onnx",
        "model.tflite",
        "recipe.toml",
    }


def test_the_seed_reaches_the_task(tmp_path: Path) -> None:
    path = tmp_path / "task.py"
    path.write_text(
        "import numpy, random, torch\n"
        "DRAWN = []\n"
        "def model():\n"
        "    DRAWN.append((random.random(), numpy.random.rand(), torch.rand(1).item()))\n"
        "    return torch.nn.Linear(3, 2).eval()\n"
        "def example_inputs(): return (torch.rand(1, 3),)\n"
    )
    digests = []
    for seed, name in ((0, "first"), (0, "second"), (1, "third")):
        recipe = replace(float_recipe("onnxruntime"), seed=seed)
        result = edgecomp.compress(path, TARGET, tmp_path / name, recipe=recipe)
        digests.append(hashes(result.folder)["model.onnx"])
    assert digests[0] == digests[1] != digests[2]


def test_golden_holds_what_bench_checks(made: Made) -> None:
    for name in ("model.tflite", "model.onnx", "model.mnn"):
        with np.load(made.folder / golden.FILE) as archive:
            step = made.document["verification"]["verdicts"][0]["against_original"][0]["step"]
            assert archive[f"{name}/steps/0"] == step
        measured = measure_local(made.folder / name, runs=3, warmup=1, golden=made.folder / golden.FILE)
        assert measured.agrees, name
        assert measured.raw["golden"]["outputs"][0]["steps"] <= 1


def test_a_float_model_needs_no_data(onnx_file: Path, tmp_path: Path) -> None:
    result = edgecomp.compress(onnx_file, TARGET, tmp_path / "out", recipe=float_recipe("tflite", "onnxruntime"))
    assert result.manifest["precision"] == "fp32"
    assert result.manifest["data"] == {}
    assert [verdict.name for verdict in result.verification.verdicts] == ["model.tflite", "model.onnx"]
    with np.load(result.folder / golden.FILE) as archive:
        assert not [name for name in archive.files if "/steps/" in name]


def test_an_example_of_zeros_does_not_stand_for_real_inputs(task: Path, tmp_path: Path) -> None:
    path = tmp_path / "task.py"
    path.write_text(
        task.read_text().replace("def calibration_data", "def _unused").replace("def evaluation_data", "def _")
    )
    result = edgecomp.compress(path, TARGET, tmp_path / "out", recipe=float_recipe("onnxruntime"))
    assert result.verification.samples > 1
    assert np.ptp(result.verification.example["inputs"]["input"]) > 0.5
    assert any("seeded random numbers" in note for note in result.manifest["notes"])


def test_int8_without_calibration_data_says_what_to_do(onnx_file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data-free, or ask for a precision without: fp32, fp16"):
        edgecomp.compress(onnx_file, TARGET, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        edgecomp.compress("nothing.onnx", TARGET, tmp_path)


def test_integer_inputs_and_outputs_take_and_give_the_source_s_floats(onnx_file: Path, tmp_path: Path) -> None:
    recipe = default_recipe(load_target(TARGET))
    recipe = replace(recipe, formats=("tflite", "onnxruntime"), export=replace(recipe.export, io_dtype="int8"))
    result = edgecomp.compress(onnx_file, TARGET, tmp_path / "out", recipe=recipe, calibration=batches(1, 2, 5, 5))
    for entry in result.manifest["artifacts"]:
        assert entry["inputs"][0]["dtype"] == entry["outputs"][0]["dtype"] == "int8"
        measured = measure_local(result.folder / entry["file"], runs=1, warmup=0, golden=result.folder / golden.FILE)
        assert measured.agrees


def test_an_artifact_out_of_tolerance_is_kept_aside(onnx_file: Path, tmp_path: Path) -> None:
    recipe = replace(default_recipe(load_target(TARGET)), formats=("onnxruntime",))
    arguments = {"recipe": recipe, "calibration": batches(1, 2, 5, 5), "tolerance": Tolerance(simulation_sqnr=999)}
    with pytest.raises(VerificationError, match=r"at least 999 dB expected") as caught:
        edgecomp.compress(onnx_file, TARGET, tmp_path / "out", **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["out.rejected"]
    assert str(tmp_path / "out.rejected") in caught.value.cure
    assert (tmp_path / "out.rejected" / "model.onnx").exists()


@pytest.fixture
def with_det(tmp_path: Path) -> Path:
    """A model with an operator that TFLite has no lowering for, and MNN and ONNX Runtime have."""
    nodes = [
        helper.make_node("Det", ["x"], ["area"], "layer/Det"),
        helper.make_node("Det", ["z"], ["volume"], "head/Det"),
        helper.make_node("Add", ["area", "volume"], ["y"], "sum"),
    ]
    return save_onnx(tmp_path / "det.onnx", nodes, {"x": [1, 3, 3], "z": [1, 2, 2]}, {"y": [1]}, {})


def test_operators_that_a_format_lacks_are_listed_once_with_the_formats_that_have_them(with_det: Path) -> None:
    folder = with_det.parent / "out"
    with pytest.raises(UnsupportedOperatorError) as caught:
        edgecomp.compress(with_det, TARGET, folder, recipe=float_recipe("tflite", "onnxruntime", "mnn"))
    assert caught.value.actual.startswith("tflite: Det 'layer/Det' and 1 more of its kind: ")
    assert caught.value.cure == "write only what can take the model: --formats onnxruntime,mnn"
    assert not folder.exists()


def test_formats_that_were_not_asked_for_are_proposed_when_none_is_left(with_det: Path) -> None:
    with pytest.raises(UnsupportedOperatorError) as caught:
        edgecomp.compress(with_det, TARGET, with_det.parent / "out", recipe=float_recipe("tflite"))
    assert caught.value.cure.startswith("write only what can take the model: --formats ")
    assert "onnxruntime" in caught.value.cure


def test_a_converter_that_crashes_is_reported_and_leaves_nothing(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crash_helper.py").write_text("import os\ndef abort(): os.abort()\n")
    monkeypatch.syspath_prepend(tmp_path)

    def crash(model: object, path: Path, options: ConversionOptions) -> None:
        path.write_bytes(b"half")
        run_isolated("crash_helper:abort", subject=path.name)

    monkeypatch.setattr(load_converter("tflite"), "convert", crash)
    with pytest.raises(ConversionError, match="SIGABRT"):
        edgecomp.compress(onnx_file, TARGET, tmp_path / "out", recipe=float_recipe("tflite"))
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".py" and path.name != "__pycache__"] == []


def test_a_torch_module_goes_through_python_alone(tmp_path: Path) -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Sigmoid()).eval()
    result = edgecomp.compress(
        module,
        TARGET,
        tmp_path / "out",
        example_inputs=(torch.zeros(1, 1, 6, 6),),
        calibration=batches(1, 1, 6, 6),
        formats=["tflite"],
    )
    image = np.random.default_rng(0).random((1, 1, 6, 6), np.float32)
    (given,) = edgecomp.load(result.artifacts["tflite"]).predict(image).values()
    np.testing.assert_allclose(given, module(torch.from_numpy(image)).detach(), atol=0.02)


def test_data_can_be_a_place(onnx_file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", image=np.random.default_rng(0).random((9, 2, 5, 5), np.float32))
    recipe = replace(default_recipe(load_target(TARGET)), formats=("onnxruntime",))
    place = tmp_path / "data.npz"
    result = edgecomp.compress(onnx_file, TARGET, tmp_path / "out", recipe=recipe, calibration=place)
    assert result.manifest["data"]["calibration"]["samples"] == result.verification.samples == 9


def test_a_qdq_model_keeps_its_integers(made: Made, tmp_path: Path) -> None:
    source = made.folder / "model.onnx"
    result = edgecomp.compress(source, TARGET, tmp_path / "out", recipe=float_recipe("tflite", "onnxruntime"))
    assert result.manifest["precision"] == "int8"
    scales = [
        sorted(float(onnx.numpy_helper.to_array(t)) for t in onnx.load(path).graph.initializer if not t.dims)
        for path in (source, result.artifacts["onnxruntime"])
    ]
    assert set(scales[0]) == set(scales[1])
    image = np.random.default_rng(0).random((1, 3, 6, 6), np.float32)
    expected, given = (
        next(iter(edgecomp.load(path).predict(image).values())) for path in (source, result.artifacts["tflite"])
    )
    step = made.document["verification"]["verdicts"][0]["against_original"][0]["step"]
    np.testing.assert_allclose(given, expected, atol=1.01 * step)


def test_a_qdq_model_says_that_the_recipe_had_no_effect(made: Made, tmp_path: Path) -> None:
    source = made.folder / "model.onnx"
    result = edgecomp.compress(source, TARGET, tmp_path / "out", effort="best", formats="onnxruntime")
    assert any("the recipe's steps had no effect" in note for note in result.manifest["notes"])


def test_no_process_and_no_temporary_file_is_left(onnx_file: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import tempfile

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    edgecomp.compress(onnx_file, TARGET, tmp_path / "out", recipe=float_recipe("onnxruntime"))
    assert os.listdir(tmp_path / "temporary") == []
