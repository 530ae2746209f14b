"""Mixed precision under a promise: what is searched, found, written and refused."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgecomp
from edgecomp.errors import BudgetError, DataError, InputError, VerificationError
from edgecomp.mixed_precision.promise import parse_drop
from edgecomp.mixed_precision.step import MixedPrecision
from edgecomp.pipeline import Result
from edgecomp.quantization.static import StaticQuantization
from edgecomp.recipe import Recipe, default_recipe
from edgecomp.target import load_target
from edgecomp.verification.tolerance import Tolerance

TARGET = "raspberry-pi-4b"

#: A net of which the second layer is broken: one channel a thousand times as large, which the third makes up for.
TASK = """
import torch

SPREAD = torch.tensor([1000.0] + [1.0] * 7)

def model():
    torch.manual_seed(0)
    first, wide, narrow, last = (torch.nn.Conv2d(8, 8, 1) for _ in range(4))
    with torch.no_grad():
        wide.weight *= SPREAD[:, None, None, None]
        wide.bias *= SPREAD
        narrow.weight /= SPREAD[None, :, None, None]
    relu = torch.nn.ReLU
    return torch.nn.Sequential(
        first, relu(), wide, relu(), narrow, relu(), last, relu(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ).eval()

def example_inputs():
    return (torch.zeros(1, 8, 6, 6),)

def images(seed, count):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 1, 8, 6, 6, generator=generator)
    return list(noise + torch.randn(count, 1, 8, 1, 1, generator=generator))

def calibration_data():
    return ((image,) for image in images(0, 40))

def evaluation_data():
    network = model()
    for image in images(1, 60):
        with torch.no_grad():
            yield (image,), network(image).argmax(1)

def metric(outputs, labels):
    return float((outputs.argmax(dim=1) == labels).float().mean())
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixed") / "task.py"
    path.write_text(TASK)
    return path


def asking(formats: tuple[str, ...] = ("onnxruntime",), **settings: object) -> Recipe:
    recipe = default_recipe(load_target(TARGET), "int8", "fast")
    return replace(recipe, formats=formats, steps=(MixedPrecision(**settings), *recipe.steps))  # type: ignore[arg-type]


def step_of(folder: Path) -> dict[str, object]:
    return next(step for step in tomllib.loads((folder / "recipe.toml").read_text())["steps"] if "layers" in step)


@pytest.fixture(scope="module")
def found(task: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    recipe = asking(("tflite", "onnxruntime", "mnn"), min_agreement=0.95)
    return edgecomp.compress(task, TARGET, tmp_path_factory.mktemp("found") / "out", recipe=recipe)


def test_the_broken_layer_is_found_and_kept_in_float(found: Result) -> None:
    assert step_of(found.folder)["layers"] == ["2/Conv"]
    (facts,) = [step["facts"] for step in found.manifest["provenance"] if step["name"] == "mixed-precision"]
    assert facts["kept_in_float"] == ["2/Conv", "3/Relu", "4/Conv", "5/Relu"]
    plain, *_, chosen = facts["frontier"]
    assert plain["float_macs"] == 0
    assert not plain["holds"]
    assert plain["sqnr"] < 20 < 40 < chosen["sqnr"]
    assert chosen["float_macs"] == pytest.approx(0.5)


def test_what_the_simulation_promises_holds_in_every_runtime(found: Result) -> None:
    simulation, *artifacts = found.verification.verdicts
    assert len(artifacts) == 3
    assert simulation.metrics["metric"] >= 0.95
    for verdict in artifacts:
        assert verdict.metrics == pytest.approx(simulation.metrics, abs=0.001)
        assert (verdict.against_original[0].agreement or 0) >= 0.95


@pytest.mark.parametrize("settings", [{"max_drop": "5%"}, {"min_sqnr": 25.0}])
def test_every_kind_of_promise_finds_it(task: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    result = edgecomp.compress(task, TARGET, tmp_path / "out", recipe=asking(**settings))
    assert step_of(result.folder)["layers"] == ["2/Conv"]


def test_the_recipe_that_is_written_searches_no_more(task: Path, tmp_path: Path, found: Result) -> None:
    recipe = replace(edgecomp.load_recipe(found.folder / "recipe.toml"), formats=("onnxruntime",))
    again = edgecomp.compress(task, TARGET, tmp_path / "again", recipe=recipe)
    (facts,) = [step["facts"] for step in again.manifest["provenance"] if step["name"] == "mixed-precision"]
    assert "frontier" not in facts
    assert (again.folder / "model.onnx").read_bytes() == (found.folder / "model.onnx").read_bytes()
    assert step_of(again.folder) == step_of(found.folder)


def test_nothing_is_done_when_plain_int8_keeps_the_promise(task: Path, tmp_path: Path) -> None:
    loose = Tolerance(agreement=0.3)
    recipe = replace(asking(), steps=default_recipe(load_target(TARGET), "int8", "fast").steps)
    plain = edgecomp.compress(task, TARGET, tmp_path / "plain", recipe=recipe, tolerance=loose)
    kept = plain.verification.verdicts[0].against_original[0].agreement or 0.0
    assert 0.3 < kept < 0.9
    recipe = asking(min_agreement=kept)
    mixed = edgecomp.compress(task, TARGET, tmp_path / "mixed", recipe=recipe, tolerance=loose)
    assert step_of(mixed.folder)["layers"] == []
    assert (mixed.folder / "model.onnx").read_bytes() == (plain.folder / "model.onnx").read_bytes()


def test_a_promise_that_cannot_be_kept_names_the_best(task: Path, tmp_path: Path) -> None:
    with pytest.raises(BudgetError) as raised:
        edgecomp.compress(task, TARGET, tmp_path / "out", recipe=asking(min_sqnr=90.0, max_float=0.6))
    assert "90 dB of signal to noise, with at most 60% of the multiplications in float" in raised.value.expected
    assert "the best is 1 layer in float (50.0% of the multiplications)" in raised.value.actual
    assert list(tmp_path.iterdir()) == []


def test_a_metric_that_is_no_number_is_refused(task: Path, tmp_path: Path) -> None:
    broken = tmp_path / "task.py"
    broken.write_text(task.read_text() + "\ndef metric(outputs, labels): return float('nan')\n")
    with pytest.raises(DataError, match=r"metric\(\)\n  expected: a number\n  actual:   nan"):
        edgecomp.compress(broken, TARGET, tmp_path / "out", recipe=asking(max_drop="1%"))


def test_an_error_may_grow_as_little_as_a_metric_may_drop(task: Path, tmp_path: Path) -> None:
    """The original is off by 0.01 from every label, and int8 as it comes by more."""
    regression = tmp_path / "task.py"
    text = task.read_text().replace("network(image).argmax(1)", "network(image) + 0.01")
    regression.write_text(text + "\nmetric = 'mse'\n")
    plain = replace(asking(), steps=default_recipe(load_target(TARGET), "int8", "fast").steps)
    before = edgecomp.compress(regression, TARGET, tmp_path / "plain", recipe=plain, tolerance=Tolerance(agreement=0.0))
    assert before.verification.metrics["mse"] == pytest.approx(1e-4, rel=1e-3)
    assert before.verification.verdicts[0].metrics["mse"] > 2e-4
    after = edgecomp.compress(regression, TARGET, tmp_path / "mixed", recipe=asking(max_drop="50%"))
    assert step_of(after.folder)["layers"]
    assert after.verification.verdicts[0].metrics["mse"] <= 1.5e-4


def test_a_drop_needs_a_metric(onnx_file: Path, tmp_path: Path) -> None:
    data = {"calibration": lambda: [(np.random.default_rng(0).random((1, 2, 5, 5), np.float32),)] * 4}
    with pytest.raises(InputError, match=r"--max-drop 1%\n.*\n.*without metric\(\)"):
        edgecomp.compress(onnx_file, TARGET, tmp_path / "out", recipe=asking(max_drop="1%"), **data)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_agreement": 99.0}, "a share from 0 to 1, such as 0.99"),
        ({"max_drop": "little"}, 'a share as "0.5%", or a number'),
        ({"max_drop": "-1%"}, 'a share as "0.5%", or a number'),
        ({"min_sqnr": -1.0}, "decibels, 0 or more"),
        ({"max_float": 0.0}, "a share above 0 and at most 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MixedPrecision(**settings)  # type: ignore[arg-type]


def test_a_drop_is_a_share_or_a_number() -> None:
    assert parse_drop("0.5%", 0.8) == pytest.approx(0.004)
    assert parse_drop("0.5%", -20.0) == pytest.approx(0.1)
    assert parse_drop("0.005", 0.8) == 0.005


def test_the_command_line_asks_for_it(edgecomp: object, task: Path, tmp_path: Path) -> None:
    options = ("--target", TARGET, "--formats", "onnxruntime", "-o", tmp_path / "out", "--json")
    result = edgecomp("compress", task, *options, "--keep-float", "2")  # type: ignore[operator]
    assert result.exit_code == 0, result.stderr
    assert step_of(tmp_path / "out")["layers"] == ["2"]
    islands = json.loads(result.stdout)["artifacts"][0]["islands"]
    assert {"2/Conv", "4/Conv"} <= {island["node"] for island in islands}
    refused = edgecomp("compress", task, *options[:-3], "--keep-float", "2", "--precision", "fp32")  # type: ignore[operator]
    assert refused.exit_code == 2
    assert "--keep-float" in refused.stderr


def test_what_integers_alone_miss_is_mended_unasked(task: Path, tmp_path: Path) -> None:
    result = edgecomp.compress(task, TARGET, tmp_path / "out", recipe=replace(asking(), steps=(StaticQuantization(),)))
    assert step_of(result.folder)["layers"] == ["2/Conv"]
    first, *_ = (note for note in result.manifest["notes"] if note.startswith("Layers to keep in float"))
    assert "with integers alone model.onnx: output" in first
    assert any(note.startswith("Mixed precision chose 1 layer in float") for note in result.manifest["notes"])
    again = edgecomp.load_recipe(result.folder / "recipe.toml")
    same = edgecomp.compress(task, TARGET, tmp_path / "again", recipe=again)
    assert (same.folder / "model.onnx").read_bytes() == (result.folder / "model.onnx").read_bytes()


def test_a_rejection_names_the_layer_and_the_option(task: Path, tmp_path: Path) -> None:
    recipe = asking(layers=("6",))  # what the user chose is not chosen anew
    with pytest.raises(VerificationError) as raised:
        edgecomp.compress(task, TARGET, tmp_path / "out", recipe=recipe)
    cure = raised.value.cure
    assert "--min-agreement 0.95 keeps in float what is needed" in cure
    assert "Conv '2/Conv' of module 2 causes" in cure
    assert "1 of 8 channels are far larger than the others" in cure
    assert "--keep-float 2/Conv" in cure
