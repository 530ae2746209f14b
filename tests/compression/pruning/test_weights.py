"""Single weights become zero, and stay so while the rest is trained."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from edgecomp.compression.fine_tuning import FineTuning
from edgecomp.compression.pruning.gradual import cubic, in_rounds
from edgecomp.compression.pruning.weights import GradualWeightPruning, WeightPruning
from edgecomp.errors import DataError, InputError
from edgecomp.frontends.torch_module import load_module
from edgecomp.target import load_target
from edgecomp.workbench import Workbench


def network() -> torch.nn.Sequential:
    module = torch.nn.Sequential(torch.nn.Linear(4, 1, bias=False), torch.nn.Linear(1, 2, bias=False))
    module[0].weight.data = torch.tensor([[0.1, -3.0, 0.2, 1.0]])
    module[1].weight.data = torch.tensor([[0.15], [-0.5]])
    return module.eval()


def train_data() -> Iterator[Any]:
    generator = np.random.default_rng(0)
    for _ in range(8):
        inputs = generator.normal(size=(8, 4)).astype(np.float32)
        yield (inputs,), (inputs.sum(1) > 0).astype(np.int64)


def bench_of(module: torch.nn.Module) -> Workbench:
    source = load_module(module, torch.rand(1, 4), name="net", subject="net")
    return Workbench(replace(source, train_data=train_data), load_target("raspberry-pi-4b"))


def zeros(module: torch.nn.Sequential) -> list[list[bool]]:
    return [(layer.weight == 0).flatten().tolist() for layer in module]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (WeightPruning(0.5), [[True, False, True, False], [True, False]]),
        (WeightPruning(0.5, scope="global"), [[True, False, True, False], [True, False]]),
        (WeightPruning(0.34, scope="global"), [[True, False, False, False], [True, False]]),
        (WeightPruning(threshold="absolute", limit=0.2), [[True, False, False, False], [True, False]]),
        (WeightPruning(threshold="relative", limit=0.31), [[True, False, True, False], [True, False]]),
        (WeightPruning(threshold="relative", limit=0.29), [[True, False, True, False], [False, False]]),
        (WeightPruning(0.5, protected=("0",)), [[False] * 4, [True, False]]),
    ],
)
def test_which_weights_go(settings: WeightPruning, expected: list[list[bool]]) -> None:
    module = network()
    changed = settings.apply(module, bench_of(network()))
    assert zeros(module) == expected
    assert changed.facts["zeros"] == sum(map(sum, expected))


def test_the_gradient_spares_small_weights_that_matter() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 2, bias=False))
    module[0].weight.data = torch.tensor([[1.0, 0.1, 0.0, 0.0], [0.0, 0.0, 0.1, 1.0]])
    source = load_module(module.eval(), torch.rand(1, 4), name="net", subject="net")
    inputs = np.array([[0.0, 9.0, 8.0, 0.0]], np.float32)
    source = replace(source, train_data=lambda: [((inputs,), np.array([1]))])
    settings = WeightPruning(0.75, criterion="gradient")
    settings.apply(module, Workbench(source, load_target("raspberry-pi-4b")))
    assert (module[0].weight != 0).nonzero().tolist() == [[0, 1], [1, 2]]


def test_random_follows_from_the_seed() -> None:
    found = []
    for seed in (0, 0, 1):
        module = torch.nn.Sequential(torch.nn.Linear(4, 50))
        WeightPruning(0.5, criterion="random").apply(module, replace(bench_of(network()), seed=seed))
        found.append((module[0].weight == 0).tolist())
    assert found[0] == found[1] != found[2]


def test_what_is_gone_does_not_come_back_in_a_second_step_or_in_training() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    bench = bench_of(torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2)).eval())
    WeightPruning(0.5).apply(module, bench)
    gone = module[0].weight == 0
    before = module[0].weight.detach().clone()
    FineTuning(epochs=2, batch_size=8).apply(module, bench)
    assert torch.equal(module[0].weight == 0, gone)
    assert not torch.equal(module[0].weight, before)
    WeightPruning(0.75, criterion="random").apply(module, bench)
    assert (module[0].weight == 0)[gone].all()
    assert int((module[0].weight == 0).sum()) == 48


@pytest.mark.parametrize("course", ["cubic", "rounds"])
def test_gradual_pruning_reaches_its_sparsity_and_learns(course: Any) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    settings = GradualWeightPruning(sparsity=0.75, course=course, rounds=3, epochs=8, batch_size=8, learning_rate=0.02)
    changed = settings.apply(module, bench_of(module.eval()))
    assert changed.facts["zeros"] == 48 + 24
    assert changed.facts["losses"][-1] < changed.facts["losses"][0]


def test_the_course_of_sparsity() -> None:
    assert [round(cubic(each, 0.8, 5), 3) for each in (0.0, 0.5, 1.0)] == [0.0, 0.7, 0.8]
    assert [round(in_rounds(each, 0.75, 2), 3) for each in (0.0, 0.49, 0.5, 1.0)] == [0.5, 0.5, 0.75, 0.75]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 1.0}, "a share in"),
        ({"limit": 0.0}, "a number above 0"),
        ({"threshold": "relative", "limit": 1.0}, "a share of the largest"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WeightPruning(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 0.0}, "a share in"),
        ({"ramp": 1.5}, "a share of the training"),
        ({"rounds": 0}, "a whole number above 0"),
        ({"epochs": 0}, "a whole number above 0"),
    ],
)
def test_settings_of_the_gradual_step_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GradualWeightPruning(**settings)


def test_gradients_need_training_data() -> None:
    bench = bench_of(network())
    without = replace(bench, source=replace(bench.source, train_data=None))
    with pytest.raises(DataError, match="the criterion gradient"):
        WeightPruning(criterion="gradient").apply(network(), without)
