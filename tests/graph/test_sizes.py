"""Numbers that are explained by sizes."""

from hypothesis import given
from hypothesis import strategies as st

from edgecomp.graph.sizes import Expression, bindings, explain, unseen

EXAMPLE = {"batch": 1, "height": 320, "width": 96}


def test_bindings_are_as_even_as_the_example_and_never_one():
    found = bindings(EXAMPLE)
    assert [sizes["batch"] for sizes in found] == [3, 5, 9]
    assert all(sizes["height"] % 32 == 0 and sizes["width"] % 32 == 0 for sizes in found)
    assert len({tuple(sizes.values()) for sizes in found}) == 3


def test_there_are_smaller_sizes_only_where_they_are_positive():
    assert bindings({"batch": 1}, -1) == []
    assert [sizes["n"] for sizes in bindings({"n": 512}, -1)] == [480, 448, 384]


def test_another_size_lies_in_their_range():
    found = bindings(EXAMPLE)
    other = unseen(EXAMPLE, found)
    for name, size in other.items():
        sizes = [binding[name] for binding in found]
        assert size not in sizes
        assert size < max(sizes)


def test_no_line_leads_from_one_dimension_to_another():
    """Else the size of one would be taken for a function of another's."""
    found = bindings(dict.fromkeys("abcde", 32))
    columns = {name: tuple(sizes[name] for sizes in found) for name in "abcde"}
    for name, numbers in columns.items():
        others = {other: each for other, each in columns.items() if other != name}
        assert explain(numbers, {}, others, {}) is None, name


def sizes_of(place, *numbers):
    return {place: numbers}


def test_forms_in_their_order():
    near, inputs = sizes_of("a", 4, 8, 16), sizes_of("n", 3, 5, 9)
    far = {(7, 11, 13): "f"}
    assert explain((6, 6, 6), near, inputs, far) == Expression((), 0, 6)
    assert explain((4, 8, 16), near, inputs, far) == Expression(("a",))
    assert explain((7, 11, 13), near, inputs, far) == Expression(("f",))
    assert explain((10, 16, 28), near, inputs, far) == Expression(("n",), 3, 1)
    assert explain((24, 80, 288), near, inputs, far) == Expression(("a", "n"), 2)
    assert explain((9, 14, 27), near, {"m": (3, 4, 9)}, far) == Expression(("a",), addend=2, plus="m")
    assert explain((2, 3, 5), {}, inputs, far) == Expression(("n",), 1, 1, 2)
    assert explain((1, 7, 2), near, inputs, far) is None


@given(st.integers(-9, 9), st.integers(-99, 99), st.integers(1, 600))
def test_what_is_explained_is_right(factor, addend, example):
    found = [sizes["n"] for sizes in bindings({"n": example})]
    numbers = tuple(factor * size + addend for size in found)
    expression = explain(numbers, {}, {"n": tuple(found)}, {})
    assert [expression.at({"n": size}) for size in (*found, 7777)] == [*numbers, factor * 7777 + addend]


@given(st.integers(-2, 2), st.integers(1, 600), st.integers(1, 600))
def test_a_sum_of_two_sizes_is_right(addend, cached, new):
    found = bindings({"cached": cached, "new": new})
    places = {name: tuple(sizes[name] for sizes in found) for name in found[0]}
    numbers = tuple(sizes["cached"] + sizes["new"] + addend for sizes in found)
    assert explain(numbers, {}, places, {}).at({"cached": 7777, "new": 31}) == 7808 + addend
