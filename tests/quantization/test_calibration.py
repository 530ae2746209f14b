import sys

import numpy as np
import onnx_ir as ir
import pytest

from edgecomp.errors import DataError
from edgecomp.quantization import calibration
from edgecomp.quantization.calibration import Collector, _stride, collect, largest_of
from edgecomp.shapes import InputShapes


def values(count, scale=1.0, seed=0):
    return np.random.default_rng(seed).normal(0, scale, count).astype(np.float32)


def feed(collector, *tensors):
    lows, highs = (np.array([reduce(t) for t in tensors], np.float64) for reduce in (np.min, np.max))
    collector.add(lows, highs, np.concatenate(tensors))


def test_the_histogram_is_numpys():
    batch = values(5000)
    collector = Collector(["t"], [5000])
    feed(collector, batch)
    statistics = collector.result()["t"]
    expected, _ = np.histogram(batch, bins=4096, range=(-statistics.edge, statistics.edge))
    # float32 puts a value that lies on an edge into either bin.
    assert np.abs(np.cumsum(statistics.counts) - np.cumsum(expected)).max() <= 2
    assert statistics.counts.sum() == 5000


def test_a_range_that_doubles_loses_nothing():
    batches = [values(3000, scale, seed) for seed, scale in enumerate((0.01, 0.5, 8.0, 1.0))]
    collector = Collector(["t"], [3000])
    for batch in batches:
        feed(collector, batch)
    statistics = collector.result()["t"]
    everything = np.concatenate(batches)
    assert statistics.counts.sum() == len(everything)
    assert np.abs(everything).max() <= statistics.edge < 2 * np.abs(everything).max()
    assert np.log2(statistics.edge / np.abs(batches[0]).max()) == pytest.approx(
        round(np.log2(statistics.edge / np.abs(batches[0]).max()))
    )
    width = 2 * statistics.edge / 4096
    cumulated = np.cumsum(statistics.counts)
    for position in (500, 2000, 2048, 2100, 3500):
        edge = -statistics.edge + position * width
        exact = (everything < edge).sum()
        slack = (np.abs(everything - edge) < width).sum()
        assert abs(int(cumulated[position - 1]) - int(exact)) <= slack


def test_extremes_are_exact_whatever_the_sample():
    first, second = values(4000, seed=1), values(4000, 5.0, seed=2)
    collector = Collector(["a", "b"], [100, 50])
    collector.add(
        np.array([first.min(), second.min()], np.float64),
        np.array([first.max(), second.max()], np.float64),
        np.concatenate([first[:100], second[:50]]),
    )
    result = collector.result()
    assert (result["a"].low, result["a"].high) == (first.min(), first.max())
    assert (result["b"].low, result["b"].high) == (second.min(), second.max())
    assert (result["a"].counts.sum(), result["b"].counts.sum()) == (100, 50)


def test_memory_does_not_grow_with_the_number_of_batches():
    collector = Collector(["t"], [200])

    def size():
        return sum(sys.getsizeof(value) for value in vars(collector).values())

    feed(collector, values(200))
    before = size()
    for seed in range(200):
        feed(collector, values(200, seed=seed))
    assert size() == before


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(broken):
    collector = Collector(["good", "bad"], [2, 2])
    with pytest.raises(DataError, match="NaN or infinity in bad"):
        collector.add(np.array([0.0, broken]), np.array([1.0, broken]), np.zeros(4, np.float32))


@pytest.mark.parametrize("size", [1, 5, 4096, 4097, 3 * 224 * 224, 2**20, 1000003])
def test_a_stride_visits_every_channel(size):
    stride = _stride(size, 2048)
    assert np.gcd(stride, size) == 1 or stride == 1
    assert len(range(0, size, stride)) <= max(2048, 1)


def small_model():
    x = ir.Value(name="x", shape=ir.Shape([1, 2, 8, 8]), type=ir.TensorType(ir.DataType.FLOAT))
    relu = ir.node("Relu", [x])
    negative = ir.node("Neg", [relu.outputs[0]])
    for node, name in ((relu, "r"), (negative, "y")):
        node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = name, x.shape, x.type
    graph = ir.Graph([x], negative.outputs, nodes=[relu, negative], opset_imports={"": 20}, name="g")
    return ir.Model(graph, ir_version=10)


def test_collecting_runs_the_model_on_every_batch():
    model = small_model()
    batches = [values(128, seed=seed).reshape(1, 2, 8, 8) for seed in range(5)]
    read = []

    def stream():
        for batch in batches:
            read.append(1)
            yield (batch,)

    result = collect(model, ["x", "r", "y"], stream()).statistics
    everything = np.stack(batches)
    assert len(read) == 5
    assert (result["x"].low, result["x"].high) == (everything.min(), everything.max())
    assert (result["r"].low, result["r"].high) == (0, everything.max())
    assert (result["y"].low, result["y"].high) == (-everything.max(), 0)
    assert result["y"].counts.sum() == everything.size
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_a_sample_is_bounded():
    result = collect(small_model(), ["r"], [(values(128).reshape(1, 2, 8, 8),)], samples=40).statistics
    assert 20 <= result["r"].counts.sum() <= 40


def test_no_data_is_an_error():
    with pytest.raises(DataError, match="at least one sample"):
        collect(small_model(), ["x"], [])


def test_a_large_graph_gives_the_same(monkeypatch):
    """Vectors that are joined in groups, and a graph that runs as it is."""
    tensors, batches = ["x", "r", "y"], [(values(128, seed=seed).reshape(1, 2, 8, 8),) for seed in range(3)]
    expected = collect(small_model(), tensors, batches).statistics
    monkeypatch.setattr(calibration, "_GROUP", 2)
    monkeypatch.setattr(calibration, "_MANY", 1)
    found = collect(small_model(), tensors, batches).statistics
    for name, statistics in expected.items():
        np.testing.assert_array_equal(found[name].counts, statistics.counts)
        assert (found[name].low, found[name].high) == (statistics.low, statistics.high)


def test_batches_of_several_sizes():
    """The stride follows from the largest, so that a sample grows with its batch and is bounded all the same."""
    free = InputShapes({"x": (1, 2, "h", "w")}, {"h": 8, "w": 8}, {"y": (1, 2, "h", "w")})
    batches = [(values(2 * h * w, seed=h).reshape(1, 2, h, w),) for h, w in ((8, 8), (3, 5), (20, 10), (8, 8))]
    assert largest_of(batches) is batches[2]
    options = {"dynamic": free, "largest": batches[2], "channel_means": ["r"]}
    found = collect(small_model(), ["x", "r"], batches, samples=100, **options)
    everything = np.concatenate([batch.ravel() for (batch,) in batches])
    assert (found.statistics["x"].low, found.statistics["x"].high) == (everything.min(), everything.max())
    each = [collect(small_model(), ["x"], [batch], samples=100, **options) for batch in batches]
    counts = [int(one.statistics["x"].counts.sum()) for one in each]
    assert counts[2] <= 100
    stride = _stride(400, 100)
    assert counts == [-(-batch.size // stride) for (batch,) in batches]
    assert found.statistics["x"].counts.sum() == sum(counts)
    means = np.mean([np.maximum(batch, 0).mean(axis=(0, 2, 3)) for (batch,) in batches], axis=0)
    np.testing.assert_allclose(found.channel_means["r"], means, rtol=1e-5)


def test_one_size_of_a_dynamic_dimension_is_as_good_as_fixed():
    free = InputShapes({"x": (1, 2, "h", "w")}, {"h": 8, "w": 8}, {"y": (1, 2, "h", "w")})
    batches = [(values(128, seed=seed).reshape(1, 2, 8, 8),) for seed in range(3)]
    fixed = collect(small_model(), ["x", "y"], batches, samples=40, channel_means=["r"])
    found = collect(small_model(), ["x", "y"], batches, samples=40, channel_means=["r"], dynamic=free)
    for name, statistics in fixed.statistics.items():
        np.testing.assert_array_equal(found.statistics[name].counts, statistics.counts)
    np.testing.assert_array_equal(found.channel_means["r"], fixed.channel_means["r"])
