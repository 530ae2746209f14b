"""What `--shape` may say."""

import pytest

from edgecomp.errors import InputError
from edgecomp.shapes import InputShapes, Symbol, alternatives, parse_shapes


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("x=1x3x224x224", (1, 3, 224, 224)),
        ("x=5", (5,)),
        ("x=batch:1xmax_len:32", (Symbol("batch", 1), Symbol("max_len", 32))),
        ("x=?x?:32x8", (Symbol(), Symbol(None, 32), 8)),
        ("a=b=1x2", (1, 2)),
    ],
)
def test_a_shape(text, shape):
    assert list(parse_shapes([text]).values()) == [shape]


@pytest.mark.parametrize("text", ["x", "x=", "=1", "x=0x3", "x=-1x3", "x=batchx3", "x=?:0", "x=1xx2", "x=1x2x"])
def test_another_form_is_refused(text):
    with pytest.raises(InputError) as caught:
        parse_shapes([text])
    assert caught.value.subject == f"--shape {text}"


def test_an_input_named_twice_has_two_shapes():
    shapes = parse_shapes(["x=1x2", "y=3", "x=1x4"])
    assert alternatives(shapes, "model") == [{"x": (1, 2), "y": (3,)}, {"x": (1, 4), "y": (3,)}]


def test_inputs_have_equally_many_shapes():
    with pytest.raises(InputError) as caught:
        alternatives(parse_shapes(["x=1", "x=2", "y=1", "y=2", "y=3"]), "model")
    assert caught.value.actual == "2 for x, 3 for y"


def test_nothing_asked_for():
    assert parse_shapes([]) is None
    assert alternatives(None, "model") == [{}]


def test_sizes_of_inputs():
    shapes = InputShapes({"x": ("n", 3, "w"), "y": ("n",)}, {"n": 1, "w": 8})
    assert shapes.at() == {"x": (1, 3, 8), "y": (1,)}
    assert shapes.at({"n": 4}) == {"x": (4, 3, 8), "y": (4,)}
    fixed = shapes.with_fixed(["w"])
    assert (fixed.inputs["x"], fixed.example) == (("n", 3, 8), {"n": 1})
