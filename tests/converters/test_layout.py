"""Layouts are permutations: what they say about memory holds for real arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.converters.tflite.layout import (
    Layout,
    channels_last,
    identity,
    moves_memory,
    regrouped,
    reshaped,
    stored_shape,
    transposed,
)

SIZES = st.sampled_from([1, 2, 3, 4, 6])


@st.composite
def shapes_and_layouts(draw: st.DrawFn) -> tuple[tuple[int, ...], Layout]:
    shape = tuple(draw(st.lists(SIZES, min_size=1, max_size=5)))
    return shape, tuple(draw(st.permutations(range(len(shape)))))


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], Layout]:
    """A shape, another of the same size made by splitting and merging neighbours, and a layout of the first."""
    before, layout = draw(shapes_and_layouts())
    after: list[int] = []
    for size in before:
        divisor = draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0]))
        after.extend(draw(st.sampled_from([[size], [divisor, size // divisor]])))
    while len(after) > 1 and draw(st.booleans()):
        index = draw(st.integers(0, len(after) - 2))
        after[index : index + 2] = [after[index] * after[index + 1]]
    return before, tuple(after), layout


def stored(array: np.ndarray, layout: Layout) -> np.ndarray:
    return np.ascontiguousarray(np.transpose(array, layout))


@given(reshapes())
def test_a_reshape_that_leaves_memory_alone_means_what_it_says(case: tuple[tuple[int, ...], tuple[int, ...], Layout]):
    before, after, layout = case
    array = np.arange(np.prod(before)).reshape(before)
    target = reshaped(before, after, layout)
    if target is not None:
        kept = stored(array, layout).reshape(stored_shape(after, target))
        assert np.array_equal(kept, stored(array.reshape(after), target))


@given(reshapes())
def test_every_reshape_is_possible_after_regrouping(case: tuple[tuple[int, ...], tuple[int, ...], Layout]):
    before, after, layout = case
    regular = regrouped(before, after, layout)
    assert sorted(regular) == list(range(len(before)))
    assert reshaped(before, after, regular) is not None
    if reshaped(before, after, layout) is not None:
        assert not moves_memory(before, layout, regular)


@given(shapes_and_layouts(), st.data())
def test_a_transpose_only_changes_the_layout(case: tuple[tuple[int, ...], Layout], data: st.DataObject):
    shape, layout = case
    permutation = tuple(data.draw(st.permutations(range(len(shape)))))
    array = np.arange(np.prod(shape)).reshape(shape)
    result = np.transpose(array, permutation)
    assert np.array_equal(stored(array, layout), stored(result, transposed(layout, permutation)))


@given(shapes_and_layouts(), st.data())
def test_memory_moves_only_when_elements_change_places(case: tuple[tuple[int, ...], Layout], data: st.DataObject):
    shape, layout = case
    other = tuple(data.draw(st.permutations(range(len(shape)))))
    array = np.arange(np.prod(shape)).reshape(shape)
    same = np.array_equal(stored(array, layout).reshape(-1), stored(array, other).reshape(-1))
    assert same is not moves_memory(shape, layout, other)


def test_a_channel_shuffle_of_an_image_moves_memory_once():
    image, groups, layout = (1, 8, 5, 5), (1, 2, 4, 5, 5), channels_last(4)
    split = reshaped(image, groups, layout)
    assert split is not None
    swapped = transposed(split, (0, 2, 1, 3, 4))
    shuffled = (1, 4, 2, 5, 5)
    assert reshaped(shuffled, image, swapped) is None
    regular = regrouped(shuffled, image, swapped)
    assert moves_memory(shuffled, swapped, regular)
    target = reshaped(shuffled, image, regular)
    assert target is not None
    assert not moves_memory(image, target, channels_last(4))


def test_the_identity_is_the_source_s_order():
    assert identity(4) == (0, 1, 2, 3)
    assert channels_last(4) == (0, 2, 3, 1)
    assert channels_last(3) == (0, 2, 1)
    assert channels_last(2) == (0, 1)
