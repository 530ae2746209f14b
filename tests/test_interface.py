"""What an artifact says about itself survives the journey, and damage is noticed."""

import json

import pytest

from edgecomp.errors import SourceError
from edgecomp.interface import Interface, TensorInterface

INTERFACE = Interface(
    (TensorInterface("image", "int8", (1, 8, 9, 3), (0, 2, 3, 1), scale=0.1, zero_point=-5),),
    (TensorInterface("scores", "float32", (1, None)),),
)


def test_the_json_is_one_line_and_gives_the_same_interface() -> None:
    text = INTERFACE.to_json()
    assert "\n" not in text
    assert Interface.from_json(text, subject="x") == INTERFACE
    assert Interface.from_json(text, subject="x").to_json() == text


def test_the_source_shape_undoes_the_permutation() -> None:
    assert INTERFACE.inputs[0].source_shape == (1, 3, 8, 9)
    assert INTERFACE.outputs[0].source_shape == (1, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": 99, "inputs": [], "outputs": []}',
        '{"schema": 1, "inputs": ["image"], "outputs": []}',
        '{"schema": 1, "inputs": [{"name": "x", "dtype": "int8", "shape": [1], "unknown": 1}], "outputs": []}',
        '{"schema": 1, "inputs": [{"name": "x", "dtype": "int8", "shape": [1], "permutation": [5]}], "outputs": []}',
    ],
)
def test_damage_is_noticed(text: str) -> None:
    with pytest.raises(SourceError, match=r"the metadata of model\.tflite"):
        Interface.from_json(text, subject="model.tflite")


def test_a_newer_schema_is_named() -> None:
    with pytest.raises(SourceError, match="schema 2"):
        Interface.from_json(json.dumps({"schema": 2, "inputs": [], "outputs": []}), subject="x")
