import numpy as np
import pytest

from edgecomp.quantization.calibration import Collector
from edgecomp.quantization.estimators import ESTIMATORS, _parameters
from edgecomp.quantization.scheme import activation_parameters


def statistics_of(*batches):
    collector = Collector(["t"], [len(batches[0])])
    for batch in batches:
        batch = np.asarray(batch, np.float32)
        collector.add(np.array([batch.min()], np.float64), np.array([batch.max()], np.float64), batch)
    return collector.result()["t"]


def mean_squared_error(values, low, high):
    parameters = activation_parameters(low, high)
    return float(((parameters.dequantize(parameters.quantize(values)) - values) ** 2).mean())


RNG = np.random.default_rng(0)
SAMPLES = {
    "normal": RNG.normal(0, 1, 30000).astype(np.float32),
    "half-normal": np.abs(RNG.normal(0, 1, 30000)).astype(np.float32),
    "laplace": RNG.laplace(0.3, 1, 30000).astype(np.float32),
    "uniform": RNG.uniform(-1, 2, 30000).astype(np.float32),
    "outlier": np.concatenate([RNG.normal(0, 1, 29999), [60.0]]).astype(np.float32),
    "negative": -np.abs(RNG.normal(0, 1, 30000)).astype(np.float32),
}


def test_minmax_and_moving_average_by_their_formulas():
    batches = [RNG.normal(0, scale, 1000).astype(np.float32) for scale in (1, 3, 2)]
    statistics = statistics_of(*batches)
    assert ESTIMATORS["minmax"](statistics) == (min(b.min() for b in batches), max(b.max() for b in batches))
    low, high = float(batches[0].min()), float(batches[0].max())
    for batch in batches[1:]:
        low, high = 0.9 * low + 0.1 * float(batch.min()), 0.9 * high + 0.1 * float(batch.max())
    assert ESTIMATORS["moving-average"](statistics) == pytest.approx((low, high))


@pytest.mark.parametrize("name", SAMPLES)
def test_percentile_is_numpys_within_a_bin(name):
    values = SAMPLES[name]
    statistics = statistics_of(values)
    low, high = ESTIMATORS["percentile"](statistics)
    width = 2 * statistics.edge / len(statistics.counts)
    expected = np.percentile(values, [0.005, 99.995], method="inverted_cdf")
    assert low == pytest.approx(expected[0], abs=2 * width)
    assert high == pytest.approx(expected[1], abs=2 * width)


@pytest.mark.parametrize("name", SAMPLES)
def test_mse_is_as_good_as_an_exhaustive_search(name):
    values = SAMPLES[name]
    low, high = ESTIMATORS["mse"](statistics_of(values))
    ends = [np.linspace(0.05, 1, 40) * float(end) for end in (min(values.min(), 0), max(values.max(), 0))]
    best = min(mean_squared_error(values, a, b) for a in ends[0] for b in ends[1])
    assert mean_squared_error(values, low, high) <= 1.03 * best
    assert mean_squared_error(values, low, high) <= 1.001 * mean_squared_error(values, values.min(), values.max())


def test_entropy_and_percentile_clip_one_outlier_and_mse_what_it_is_worth():
    statistics = statistics_of(SAMPLES["outlier"])
    assert ESTIMATORS["entropy"](statistics)[1] < 40
    assert ESTIMATORS["percentile"](statistics)[1] < 10
    # Clipping one value of n at 60 costs (60 - high)^2 / n, all others gain the squares of their steps: not worth much.
    assert ESTIMATORS["mse"](statistics)[1] > 50


def test_mse_clips_a_long_tail():
    values = np.random.default_rng(1).standard_t(3, 100000).astype(np.float32)
    low, high = ESTIMATORS["mse"](statistics_of(values))
    assert high - low < 0.95 * (values.max() - values.min())
    assert ((values >= low) & (values <= high)).mean() > 0.99


@pytest.mark.parametrize("name", ["mse", "entropy", "percentile"])
def test_nothing_is_clipped_that_is_as_frequent_as_the_rest(name):
    low, high = ESTIMATORS[name](statistics_of(SAMPLES["uniform"]))
    assert (low, high) == pytest.approx((-1, 2), abs=0.03)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("value", [0.0, 2.5, -1e-20, 1e30])
def test_a_constant_tensor_has_a_range(name, value):
    low, high = ESTIMATORS[name](statistics_of(np.full(100, value)))
    parameters = activation_parameters(low, high)
    restored = parameters.dequantize(parameters.quantize(np.float32(value)))
    assert restored == pytest.approx(value, rel=0.01, abs=1e-6)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_range_stays_within_what_was_seen(name, sample):
    statistics = statistics_of(*np.split(SAMPLES[sample], 4))
    low, high = ESTIMATORS[name](statistics)
    assert statistics.low <= low <= high <= statistics.high


def test_many_parameters_at_once_are_the_schemes():
    low = np.concatenate([RNG.normal(0, 10, 500), [0.0, 0.0, -1.0]])
    high = low + np.concatenate([np.abs(RNG.normal(0, 10, 500)), [0.0, 1.0, 1e-20]])
    scale, zero_point = _parameters(low, high)
    for index in range(len(low)):
        expected = activation_parameters(low[index], high[index])
        assert (scale[index], zero_point[index]) == (float(expected.scale), float(expected.zero_point))
