"""Which estimator is right depends on the network, and a few samples tell."""

import numpy as np
import pytest
from graphs import model_of, node

from edgecomp.quantization import static
from edgecomp.quantization.choice import closest
from edgecomp.quantization.static import TRIED, StaticQuantization, quantize_static

SHAPE = (1, 1, 64, 64)


def rare_and_large(share: float = 0.002) -> list[tuple[np.ndarray]]:
    """Small numbers, a few of which are a hundred times as large."""
    rng = np.random.default_rng(0)
    return [(np.where(rng.random(SHAPE) < share, 30, rng.normal(0, 0.3, SHAPE)).astype(np.float32),) for _ in range(6)]


MEASURED = StaticQuantization(estimator="measured")
#: What is large is all that counts, or is cut off anyway.
NETS = {
    "the large values count": model_of(node("Mul", "x x", "y"), shape=SHAPE),
    "the small values count": model_of(
        node("Identity", "x", "i"), node("Conv", "i w", "c"), node("Clip", "c low high", "y"), shape=SHAPE,
        w=np.ones((1, 1, 1, 1), np.float32), low=np.float32(-1), high=np.float32(1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_measured_is_the_best_of_what_it_tries(name: str) -> None:
    data = rare_and_large()
    chosen = quantize_static(NETS[name], data, MEASURED, threads=1)
    each = [quantize_static(NETS[name], data, StaticQuantization(estimator=tried), threads=1) for tried in TRIED]
    best, sqnr = closest(NETS[name], each, data, threads=1)
    assert chosen.quantization == each[best].quantization
    assert chosen.provenance[-1].facts["sqnr"] == pytest.approx(dict(zip(TRIED, sqnr, strict=True)))
    assert chosen.provenance[-1].facts["estimator"] == TRIED[best]


def test_networks_differ_in_what_is_best() -> None:
    data = rare_and_large()
    chosen = {name: quantize_static(net, data, MEASURED, threads=1) for name, net in NETS.items()}
    assert len({model.provenance[-1].facts["estimator"] for model in chosen.values()}) == 2


def test_what_overflows_is_never_chosen() -> None:
    broken = model_of(node("Mul", "x huge", "y"), shape=SHAPE, huge=np.float32(3e38))
    good = NETS["the large values count"]
    best, sqnr = closest(good, [broken, good], rare_and_large(), threads=1)
    assert (best, sqnr[0]) == (1, -200.0)


@pytest.mark.parametrize(("gain", "expected"), [(1.0, "mse"), (2.0, "minmax")])
def test_the_first_is_kept_unless_another_is_clearly_better(
    gain: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static, "closest", lambda *given, threads: (1, [20.0, 20.0 + gain, 5.0]))
    chosen = quantize_static(NETS["the large values count"], rare_and_large(), MEASURED, threads=1)
    assert chosen.provenance[-1].facts["estimator"] == expected
