"""Calibration and evaluation data: regrouping, checks, one pass over the source."""

import subprocess
import sys
import tempfile

import numpy as np
import pytest

from edgecomp.data import InputSpec, collect_calibration, collect_evaluation
from edgecomp.errors import DataError, OutputError

IMAGE = InputSpec("image", "float32", (2, 3))
ONE = InputSpec("image", "float32", (1, 3))


def rows(*numbers):
    """Samples that are told apart by their first number."""
    return np.array([[number, 1, 2] for number in numbers], np.float32)


def collect(items, *inputs, **arguments):
    return collect_calibration(items, inputs or (IMAGE,), subject="calibration_data()", **arguments)


def firsts(data):
    return [batch[0][:, 0].tolist() for batch in data]


def test_items_are_regrouped_to_the_models_batch():
    data = collect([(rows(1),), (rows(2, 3, 4),), rows(5, 6)])
    assert (data.samples, len(data)) == (6, 3)
    assert firsts(data) == [[1, 2], [3, 4], [5, 6]]
    assert firsts(data) == [[1, 2], [3, 4], [5, 6]]


def test_samples_that_fill_no_batch_are_dropped_from_calibration():
    assert firsts(collect([rows(1, 2, 3)])) == [[1, 2]]


def test_too_few_samples_for_one_batch_are_repeated():
    assert firsts(collect([rows(1)])) == [[1, 1]]


def test_limit_counts_samples():
    drawn = []

    def items():
        for number in range(100):
            drawn.append(number)
            yield rows(number, number)

    data = collect(items(), limit=3)
    assert data.samples == 3
    assert len(drawn) == 2


def test_a_generator_is_read_once_and_passes_agree():
    random = np.random.default_rng()
    data = collect(random.random((4, 3)).astype(np.float32) for _ in range(5))
    first, second = list(data), list(data)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, second, strict=True))


def test_two_passes_at_once():
    data = collect([rows(1, 2, 3, 4)], ONE)
    assert [(a[0][0, 0], b[0][0, 0]) for a, b in zip(data, data, strict=True)] == [(1, 1), (2, 2), (3, 3), (4, 4)]


def test_batches_may_be_written_to():
    data = collect([rows(1, 2)])
    next(iter(data))[0][:] = 0
    assert firsts(data) == [[1, 2]]


def test_digest_knows_values_and_not_batching():
    one = collect([rows(1, 2, 3, 4)]).digest
    assert collect([rows(1), rows(2, 3), rows(4)]).digest == one
    assert collect([rows(1, 2, 4, 3)]).digest != one
    assert collect([rows(1, 2, 3, 4)], InputSpec("x", "float32", (2, 3))).digest != one


def test_torch_tensors():
    import torch

    data = collect([(torch.tensor(rows(1, 2), requires_grad=True),)])
    assert firsts(data) == [[1, 2]]


def test_inputs_without_a_common_batch_axis():
    shapes = {"sequence": (5, 1, 2), "state": (1, 2)}
    specs = (*(InputSpec(name, "float32", shape) for name, shape in shapes.items()), InputSpec("n", "int64", ()))
    item = (np.ones((5, 1, 2), np.float32), np.ones((1, 2), np.float32), np.array(3))
    data = collect([item, item], *specs)
    assert (data.samples, len(data)) == (2, 2)
    assert [array.shape for array in next(iter(data))] == [(5, 1, 2), (1, 2), ()]
    with pytest.raises(DataError, match="shape 6x1x2"):
        collect([(np.ones((6, 1, 2), np.float32), *item[1:])], *specs)


def test_evaluation_uses_every_sample():
    items = [((rows(1, 2, 3),), [1, 2, 3]), ((rows(4, 5),), [4, 5])]
    data = collect_evaluation(items, (IMAGE,), subject="evaluation_data()")
    assert (data.samples, len(data)) == (5, 3)
    read = [(batch[0][:, 0].tolist(), labels.tolist()) for batch, labels in data]
    assert read == [([1, 2], [1, 2]), ([3, 4], [3, 4]), ([5, 5], [5])]


def test_labels_may_be_arrays():
    data = collect_evaluation([((rows(1, 2),), np.eye(2))], (IMAGE,), subject="e")
    assert next(iter(data))[1].shape == (2, 2)


TEXT = (InputSpec("ids", "int64", (1, 8), (None, "length")), InputSpec("mask", "int64", (1, 8), (None, "length")))


def texts(*lengths, rows=1):
    return [(np.full((rows, length), number), np.ones((rows, length), int)) for number, length in enumerate(lengths)]


def test_items_of_several_sizes_come_in_batches_of_one():
    spec = InputSpec("ids", "int64", (2, 8), (None, "length"))
    items = [ids for ids, _ in texts(5, 3, 5, 9, 3, 5, 5, 3)]
    data = collect(items, spec)
    assert data.samples == 8
    assert data.sizes == [{"length": 3}, {"length": 5}, {"length": 9}]
    # Of three samples of length 3 one is left over; one of length 9 is repeated.
    assert sorted(batch.tolist() for (batch,) in data) == sorted(
        [[[1] * 3, [4] * 3], [[0] * 5, [2] * 5], [[5] * 5, [6] * 5], [[3] * 9, [3] * 9]]
    )


def test_the_order_of_sizes_changes_nothing_and_a_pass_is_spread_over_them():
    lengths = [4] * 32 + [20] * 16 + list(range(40, 56))
    shuffled = np.random.default_rng(0).permutation(lengths).tolist()
    passes = [[batch.shape[1] for batch, _ in collect(texts(*order), *TEXT)] for order in (lengths, shuffled)]
    assert passes[0] == passes[1]
    first = passes[0][:16]  # a quarter of the pass
    assert [first.count(4), first.count(20)] == [8, 4]
    others = [length for length in first if length >= 40]
    assert min(others) < 45
    assert max(others) > 50


def test_data_of_one_size_come_in_their_own_order_and_have_their_own_digest():
    fixed = [InputSpec(spec.name, spec.dtype, spec.shape) for spec in TEXT]
    free, same = collect(texts(8, 8, 8), *TEXT), collect(texts(8, 8, 8), *fixed)
    assert [ids[0, 0] for ids, _ in free] == [0, 1, 2]
    assert free.digest == same.digest
    assert same.sizes == [{}]
    assert (
        collect([(np.arange(12).reshape(1, 12),) * 2], *TEXT).digest
        != collect([(each, each) for each in np.split(np.arange(12).reshape(1, 12), 2, axis=1)], *TEXT).digest
    )


def test_labels_stay_with_samples_of_several_sizes():
    items = [(item, np.full((1, number + 1), number)) for number, item in enumerate(texts(5, 3, 5, 9))]
    data = collect_evaluation(items, TEXT, subject="evaluation_data()")
    read = [
        (ids[0, 0], labels.tolist(), list(each)) for ((ids, _), labels), each in zip(data, data.places, strict=True)
    ]
    assert sorted(read) == [(n, [[n] * (n + 1)], [n]) for n in range(4)]
    assert len(set(data.groups.tolist())) == 4
    (ids, _), labels = data.take(np.array([3]))
    assert (ids.shape, labels.shape) == ((1, 9), (1, 4))


def test_an_axis_of_samples_is_no_length():
    """Time in front, as in (time, batch, numbers), where a mask has it too: items stay whole."""
    specs = (
        InputSpec("sound", "float32", (8, 1, 2), ("time", None, None)),
        InputSpec("mask", "float32", (1, 8), (None, "time")),
    )
    items = [(np.ones((length, 1, 2), np.float32), np.ones((1, length), np.float32)) for length in (4, 9, 4)]
    data = collect(items, *specs)
    assert sorted(sound.shape for sound, _ in data) == [(4, 1, 2), (4, 1, 2), (9, 1, 2)]
    assert not data.batched
    assert data.sizes == [{"time": 4}, {"time": 9}]


@pytest.mark.parametrize(
    ("item", "expected", "actual"),
    [
        ((np.ones((1, 5), int), np.ones((1, 6), int)), "one size of the dimension 'length'", "5 in ids, 6 in mask"),
        ((np.ones((1, 0), int),) * 2, "shape Nxlength", "shape 1x0"),
        ((np.ones((1, 5, 1), int),) * 2, "shape Nxlength", "shape 1x5x1"),
    ],
)
def test_sizes_that_cannot_be(item, expected, actual):
    with pytest.raises(DataError) as caught:
        collect([item], *TEXT)
    assert expected in caught.value.expected
    assert actual in caught.value.actual
    assert caught.value.cure


def bad(value):
    array = rows(1, 2)
    array[0, 1] = value
    return array


@pytest.mark.parametrize(
    ("items", "subject", "expected", "actual", "cure"),
    [
        ([], "calibration_data()", "at least one item", "none", "gives nothing the second time"),
        ([(rows(1), rows(1))], "item 0", "1 inputs: image", "2 arrays", "evaluation_data()"),
        ([rows(1), np.ones((1, 4), np.float32)], "item 1: input 'image'", "shape Nx3", "shape 1x4", "any number"),
        ([np.ones(3, np.float32)], "input 'image'", "shape Nx3", "shape 3", "example inputs"),
        ([rows(1).astype(float)], "input 'image'", "float32", "float64", ".astype('float32')"),
        ([rows(1).astype(np.uint8)], "input 'image'", "float32", "uint8", "preprocess the data as in training"),
        ([bad(np.nan)], "input 'image'", "finite numbers", "1 of 6 are NaN", "leave such samples out"),
        ([bad(-np.inf)], "input 'image'", "finite numbers", "1 of 6 are NaN", "leave such samples out"),
        (
            [np.zeros((2, 3), np.float32)] * 3,
            "calibration_data()",
            "what the model will see",
            "zeros in all 6",
            "scaled",
        ),
        (["cat.jpg"], "item 0", "a torch tensor or numpy array", "a str", "yield tuples"),
        ([{"image": 1}], "item 0", "a torch tensor or numpy array", "a dict", "yield tuples"),
    ],
)
def test_unusable_data(items, subject, expected, actual, cure):
    with pytest.raises(DataError) as caught:
        collect(items)
    error = caught.value
    assert error.exit_code == 2
    assert error.subject.startswith("calibration_data()")
    assert subject in error.subject
    assert expected in error.expected
    assert actual in error.actual
    assert cure in error.cure


def test_inputs_that_disagree_on_the_number_of_samples():
    specs = (ONE, InputSpec("gain", "float32", (1, 1)))
    with pytest.raises(DataError) as caught:
        collect([(rows(1, 2), np.ones((1, 1), np.float32))], *specs)
    assert caught.value.actual == "image has 2, gain has 1"


def test_zeros_are_fine_for_integers():
    collect([np.zeros((1, 3), np.int64)], InputSpec("tokens", "int64", (1, 3)))


@pytest.mark.parametrize(
    ("items", "subject", "actual"),
    [
        ([(rows(1),)], "item 0", "a tuple of 1"),
        ([rows(1)], "item 0", "a ndarray"),
        ([((rows(1, 2),), [1])], "item 0: labels", "1 labels"),
        ([((rows(1, 2),), 1)], "item 0: labels", "a single number"),
        ([((rows(1),), [1]), ((rows(1),), [[1, 2]])], "item 1: labels", "int64 of 2 dimensions"),
        ([((rows(1),), ["cat"])], "item 0: labels", "a list"),
    ],
)
def test_unusable_labels(items, subject, actual):
    with pytest.raises(DataError) as caught:
        collect_evaluation(items, (ONE,), subject="evaluation_data()")
    assert subject in caught.value.subject
    assert actual in caught.value.actual


def test_full_disk(monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda prefix: Full())
    with pytest.raises(OutputError) as caught:
        collect([rows(1)])
    assert caught.value.exit_code == 2
    assert caught.value.actual == "No space left on device"
    assert "TMPDIR" in caught.value.cure


def test_memory_does_not_grow_with_the_data():
    code = """
import resource, sys
import numpy as np
from edgecomp.data import InputSpec, collect_calibration
spec = InputSpec("x", "float32", (1, 250_000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = collect_calibration((np.ones((1, 250_000), np.float32) for _ in range(200)), [spec], subject="")
assert sum(1 for _ in data) == 200
sys.exit(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 50_000)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
