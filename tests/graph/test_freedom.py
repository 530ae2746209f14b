"""How free each dimension stays."""

import pytest

from edgecomp.graph.freedom import NotGeneralError, choose
from edgecomp.shapes import InputShapes

SHAPES = InputShapes(
    {"x": ("batch", "height", "width", 3)}, {"batch": 1, "height": 64, "width": 48}, odd=frozenset(["height", "width"])
)


def attempt_that(*, wants_even=(), wants_fixed=(), at_most=3):
    """An attempt that goes where some dimensions are even, some fixed, and not too many are dynamic."""

    def attempt(shapes):
        for name in wants_fixed:
            if name in shapes.example:
                raise NotGeneralError(f"{name} is written into the graph")
        for name in wants_even:
            if name in shapes.odd:
                raise NotGeneralError(f"{name} is padded")
        if len(shapes.example) > at_most:
            raise NotGeneralError("too many")
        return dict(shapes.example)

    return attempt


@pytest.mark.parametrize(
    ("limits", "dynamic", "multiples", "reasons"),
    [
        ({}, {"batch", "height", "width"}, {}, {}),
        ({"wants_even": ["width"]}, {"batch", "height", "width"}, {"width": 16}, {"width": "width is padded"}),
        (
            {"wants_even": ["height", "width"], "wants_fixed": ["batch"]},
            {"height", "width"},
            {"height": 32, "width": 16},
            {
                "batch": "batch is written into the graph",
                "height": "height is padded",
                "width": "width is padded",
            },
        ),
        ({"wants_fixed": ["height"]}, {"batch", "width"}, {}, {"height": "height is written into the graph"}),
        ({"at_most": 2}, {"batch", "height"}, {}, {"width": "too many"}),
        ({"at_most": 0}, set(), {}, {"batch": "too many", "height": "too many", "width": "too many"}),
    ],
)
def test_a_dimension_gives_way_no_further_than_it_must(limits, dynamic, multiples, reasons):
    choice = choose(attempt_that(**limits), SHAPES, restrictable=SHAPES.odd)
    assert (choice.result is None) == (not dynamic)
    assert set(choice.shapes.example) == dynamic
    assert choice.shapes.multiples == multiples
    assert set(choice.shapes.odd) == dynamic & set(SHAPES.odd) - set(multiples)
    assert choice.reasons == reasons


def test_a_single_dimension_is_tried_as_multiples_before_it_is_fixed():
    shapes = SHAPES.with_fixed(["batch", "height"])
    padded = choose(attempt_that(wants_even=["width"]), shapes, restrictable=["width"])
    fixed = choose(attempt_that(wants_fixed=["width"]), shapes, restrictable=["width"])
    assert padded.shapes.multiples_of("x") == (1, 1, 16, 1)
    assert not fixed.shapes.is_dynamic
    assert fixed.shapes.multiples_of("x") == ()


def test_notes_say_what_is_left_and_why():
    choice = choose(attempt_that(wants_even=["width"], wants_fixed=["batch"]), SHAPES, restrictable=SHAPES.odd)
    assert choice.notes("The file", ", give --shape", SHAPES.example) == (
        "The file fixes the dimension 'batch' at 1, give --shape: batch is written into the graph.",
        "The file takes the dimension 'width' in multiples of 16 only, give --shape: width is padded.",
    )
