"""Options change a recipe in Python as they do on the command line, and the recipe alone says it again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgecomp
from edgecomp.errors import InputError
from edgecomp.mixed_precision.step import MixedPrecision
from edgecomp.options import adjusted, resolve, tolerance_of
from edgecomp.recipe import default_recipe
from edgecomp.target import load_target
from edgecomp.verification.tolerance import Tolerance

TARGET = "raspberry-pi-4b"
DEFAULT = default_recipe(load_target(TARGET))


def test_no_option_changes_nothing() -> None:
    nothing = dict.fromkeys(("formats", "precision", "effort", "min_agreement", "keep_float"))
    assert adjusted(DEFAULT, **nothing, data_free=False) == DEFAULT  # type: ignore[typeddict-item]


def test_options_are_what_the_recipe_says_in_full() -> None:
    recipe = adjusted(DEFAULT, precision="fp16", formats="tflite, mnn", io_layout="nchw")
    assert (recipe.precision, recipe.formats, recipe.export.io_layout) == ("fp16", ("tflite", "mnn"), "nchw")
    assert recipe.steps == default_recipe(load_target(TARGET), "fp16").steps
    assert recipe == adjusted(DEFAULT, precision="fp16", formats=("tflite", "mnn"), io_layout="nchw")


def test_a_promise_takes_the_place_of_the_recipe_s() -> None:
    first = adjusted(DEFAULT, min_agreement=0.99, keep_float=["head"])
    assert tolerance_of(first).agreement == 0.99
    second = adjusted(first, min_sqnr=25.0)
    assert [step for step in second.steps if isinstance(step, MixedPrecision)] == [MixedPrecision(min_sqnr=25.0)]
    assert tolerance_of(second) == replace(Tolerance(), original_sqnr=25.0)


def test_a_recipe_file_names_the_device(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(adjusted(DEFAULT, effort="fast").to_toml())
    profile, recipe = resolve(None, tmp_path / "recipe.toml")
    assert (profile.name, recipe) == (TARGET, adjusted(DEFAULT, effort="fast"))
    assert resolve("pixel-8", tmp_path / "recipe.toml")[1].target == "pixel-8"


def test_a_device_is_needed() -> None:
    with pytest.raises(InputError, match=r"no target was given\n.*raspberry-pi-4b"):
        resolve(None)


def test_compress_takes_them(onnx_file: Path, tmp_path: Path) -> None:
    result = edgecomp.compress(onnx_file, TARGET, tmp_path / "out", precision="fp16", formats=["tflite"])
    assert result.manifest["precision"] == "fp16"
    assert list(result.artifacts) == ["tflite"]
    with pytest.raises(InputError, match="one of fast, balanced, best"):
        edgecomp.compress(onnx_file, TARGET, tmp_path / "bad", effort="heroic")
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize(
    ("options", "subject", "cure"),
    [
        ({"max_drop": "5x"}, "--max-drop 5x", "correct --max-drop"),
        ({"max_size": "5"}, "--max-size 5", "correct --max-size"),
        ({"min_agreement": 99.0}, "--min-agreement 99.0", "correct --min-agreement"),
        ({"keep_float": ["head"], "island": "int8"}, "--island int8", "correct --island"),
        ({"effort": "bst"}, "--effort bst", "write best"),
        ({"effort": "heroic"}, "--effort heroic", "leave out --effort, or choose one of them"),
        ({"effort": "best", "precision": "fp16"}, "--effort best", "leave out --effort, or add --precision int8"),
        ({"precision": "in8"}, "the options", "write int8"),
        ({"formats": "tflte"}, "the options", "write tflite"),
    ],
)
def test_an_option_that_cannot_be_is_called_by_its_name(options: dict[str, Any], subject: str, cure: str) -> None:
    with pytest.raises(InputError) as caught:
        adjusted(DEFAULT, **options)
    assert (caught.value.subject, caught.value.cure) == (subject, cure)


def test_an_option_that_is_not_there_is_no_option_that_changes_nothing() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'precison'; write precision"):
        adjusted(DEFAULT, precison="fp16")  # type: ignore[call-arg]
