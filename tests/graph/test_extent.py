"""The smallest sizes that a model runs at, and what its sizes are multiples of, are found by trying."""

from dataclasses import replace

import pytest

from edgecomp.graph.extent import with_extent
from edgecomp.shapes import InputShapes

SHAPES = InputShapes({"x": ("n", 3, "h", "w")}, {"n": 1, "h": 64, "w": 48}, odd=frozenset(["h", "w"]))
EVEN = replace(SHAPES, odd=frozenset())


@pytest.mark.parametrize(
    ("shapes", "runs", "smallest", "multiples"),
    [
        (SHAPES, lambda n, h, w: True, (1, 1, 1), {}),
        (SHAPES, lambda n, h, w: h >= 31 and w >= 7, (1, 31, 7), {}),
        (SHAPES, lambda n, h, w: h >= 64 and w >= 48, (1, 64, 48), {}),
        (SHAPES, lambda n, h, w: h + w >= 20, (1, 1, 19), {}),
        (EVEN, lambda n, h, w: h % 4 == w % 2 == 0, (1, 4, 2), {"h": 4, "w": 2}),
        (EVEN, lambda n, h, w: h % 4 == w % 2 == 0 and h > 30, (1, 32, 2), {"h": 4, "w": 2}),
        (EVEN, lambda n, h, w: h % 32 == w % 16 == 0, (1, 32, 16), {"h": 32, "w": 16}),
        (replace(EVEN, multiples={"h": 8}), lambda n, h, w: h >= 20, (1, 24, 1), {"h": 8}),
    ],
)
def test_the_limits_of_a_model_are_found(shapes, runs, smallest, multiples):
    found = with_extent(shapes, lambda sizes: runs(**sizes))
    assert tuple(found.smallest.values()) == smallest
    assert found.multiples == multiples


def test_few_runs_are_needed():
    ran = []
    with_extent(SHAPES, lambda sizes: ran.append(sizes) or sizes["h"] >= 31)
    assert len(ran) <= 10


def test_nothing_is_told_by_a_model_that_never_gives_finite_numbers():
    assert with_extent(SHAPES, lambda sizes: False) is SHAPES


def test_sizes_that_were_asked_for_by_themselves_have_no_limits():
    asked = replace(SHAPES, signatures=({"n": 1, "h": 64, "w": 48}, {"n": 1, "h": 32, "w": 32}))
    assert with_extent(asked, lambda sizes: True) is asked


def test_an_interface_tells_what_is_too_small():
    shapes = with_extent(EVEN, lambda sizes: sizes["h"] % 4 == 0 and sizes["h"] > 4)
    assert shapes.smallest_of("x") == (0, 0, 8, 0)
    assert shapes.multiples_of("x") == (1, 1, 4, 1)
    assert shapes.with_fixed(["h"]).smallest_of("x") == ()
