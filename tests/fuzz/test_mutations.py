"""A damaged model gives an error of edgecomp, or artifacts that compute what ONNX Runtime computes."""

from __future__ import annotations

import os

import artifacts
import numpy as np
import onnx
import pytest
from fuzzing import FINE, fuzz, outcome
from mutation import mutate
from seeds import models

#: `make fuzz` runs 2,000.
SEEDS = int(os.environ.get("EDGECOMP_FUZZ_SEEDS", "200"))
#: Where the seeds begin: other ones are other damage.
FIRST = int(os.environ.get("EDGECOMP_FUZZ_FIRST", "0"))
#: Seconds that one model may take.
LIMIT = 10.0


# Python 3.12 and later warn of forks beside threads; the forks here start none of the parent's work again.
pytestmark = [pytest.mark.forking, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]


def test_no_damage_crashes_hangs_or_goes_unnoticed() -> None:
    found = dict(fuzz(range(FIRST, FIRST + SEEDS), LIMIT))
    assert len(found) == SEEDS
    assert {seed: result for seed, result in found.items() if result not in FINE} == {}
    # Damage that is always noticed, or never, would test nothing.
    assert all(list(found.values()).count(kind) >= SEEDS // 20 for kind in FINE)


def test_no_damage_crashes_mnn_or_goes_unnoticed_there() -> None:
    """Fewer seeds: each takes two processes of its own, and as long as the machine lets them wait."""
    seeds = range(FIRST + SEEDS, FIRST + SEEDS + SEEDS // 10)
    found = dict(fuzz(seeds, 12 * LIMIT, ("mnn",)))
    assert len(found) == len(seeds)
    assert {seed: result for seed, result in found.items() if result not in FINE} == {}
    assert set(found.values()) == FINE


def test_no_damage_to_an_artifact_crashes_hangs_or_takes_all_memory() -> None:
    """Fewer seeds: what is not as edgecomp wrote it runs in processes of its own."""
    for name, model in [(name, model) for model in artifacts.MODELS for name in artifacts.FORMATS]:
        artifacts.artifact(name, model)  # once, and not in each of the processes
    seeds = range(FIRST, FIRST + max(SEEDS // 5, 20))
    found = dict(fuzz(seeds, 6 * LIMIT, artifacts.FORMATS, judge=artifacts.outcome))
    assert len(found) == len(seeds)
    assert {seed: result for seed, result in found.items() if result not in FINE} == {}
    assert set(found.values()) == FINE


def test_the_same_seed_gives_the_same_damage() -> None:
    model = models()["cnn"]
    assert [mutate(model, seed) for seed in range(20)] == [mutate(model, seed) for seed in range(20)]
    assert len({mutate(model, seed) for seed in range(20)}) > 15


def test_an_undamaged_model_is_right(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzzing.mutate", lambda model, seed: model.SerializeToString())
    assert {outcome(seed, tmp_path) for seed in range(len(models()))} == {"right"}


def test_wrong_numbers_crashes_and_hangs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzzing.mutate", lambda model, seed: models()["function"].SerializeToString())
    monkeypatch.setattr("fuzzing.load", lambda path: _Zeros())
    assert list(fuzz([0], LIMIT)) == [(0, "onnxruntime: y differs by 1")]
    monkeypatch.setattr("fuzzing.outcome", lambda seed, folder, formats: os._exit(3))
    assert list(fuzz([0, 1], LIMIT)) == [(0, "the process ended with 3"), (1, "the process ended with 3")]
    monkeypatch.setattr("fuzzing.outcome", lambda seed, folder, formats: onnx.nothing)
    [(_, result)] = fuzz([0], LIMIT)
    assert result.startswith("AttributeError")


class _Zeros:
    """An artifact that is wrong."""

    def predict(self, inputs: object) -> dict[str, np.ndarray]:
        return {"y": np.zeros((2, 2), np.float32)}
