"""Every criterion against what its paper's formula gives for a network small enough to work it out."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from edgecomp.compression.pruning.channels import CriterionName
from edgecomp.compression.pruning.criteria import CRITERIA, judge
from edgecomp.compression.pruning.evidence import Evidence, Floats
from edgecomp.compression.pruning.lasso import lost_without, path_of
from edgecomp.compression.pruning.proof import prunable

INPUTS = torch.tensor([[1.0, 2.0], [-1.0, 0.5], [0.0, 1.0]])
TARGETS = torch.tensor([[1.0], [0.0], [2.0]])


def module() -> torch.nn.Sequential:
    """Two inputs, three hidden units with a rectifier, one output."""
    network = torch.nn.Sequential(torch.nn.Linear(2, 3, bias=False), torch.nn.ReLU(), torch.nn.Linear(3, 1, bias=False))
    network[0].weight.data = torch.tensor([[1.0, -2.0], [0.5, 0.25], [0.0, 3.0]])
    network[2].weight.data = torch.tensor([[2.0, -1.0, 0.5]])
    return network.eval()


def evidence(network: torch.nn.Module | None = None) -> Evidence:
    network = network or module()
    coupling = prunable(network, [INPUTS[:1]])
    return Evidence(
        network,
        coupling,
        batches=lambda: [((INPUTS[i : i + 1],), TARGETS[i : i + 1]) for i in range(3)],
        loss=lambda outputs, targets: ((outputs - targets) ** 2).sum(),
        samples=lambda: [(INPUTS[i : i + 1],) for i in range(3)],
    )


def scores(name: CriterionName, known: Evidence) -> Floats:
    (group,) = known.coupling.groups
    return CRITERIA[name].score(known)[group.units]


def fading(network: torch.nn.Sequential) -> torch.Tensor:
    """For every sample, the derivative of the loss by a factor on every hidden unit, (3, 3)."""
    rows = []
    for inputs, targets in zip(INPUTS, TARGETS, strict=True):
        factors = torch.ones(3, requires_grad=True)
        loss = ((network[2](network[1](network[0](inputs)) * factors) - targets) ** 2).sum()
        rows.append(torch.autograd.grad(loss, factors)[0])
    return torch.stack(rows)


def test_the_names_in_recipes_are_those_in_the_table() -> None:
    assert set(get_args(CriterionName)) == set(CRITERIA)


def test_l1() -> None:
    np.testing.assert_allclose(scores("l1", evidence()), [3 + 2, 0.75 + 1, 3 + 0.5])


def test_l2() -> None:
    np.testing.assert_allclose(scores("l2", evidence()), np.sqrt([5 + 4, 0.3125 + 1, 9 + 0.25]))


def test_taylor_is_the_mean_derivative_by_a_factor_on_the_channel() -> None:
    np.testing.assert_allclose(scores("taylor", evidence()), fading(module()).mean(0).abs(), rtol=1e-6)


def test_fisher_is_half_its_mean_square() -> None:
    np.testing.assert_allclose(scores("fisher", evidence()), 0.5 * fading(module()).square().mean(0), rtol=1e-6)


def test_hessian_is_half_its_diagonal_times_the_squared_weights() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 1, bias=False)).eval()
    network[0].weight.data, network[1].weight.data = 2 * torch.eye(3), torch.tensor([[1.0, 2.0, 3.0]])
    network[0].weight.requires_grad_(False)
    inputs = torch.eye(3)
    # Sample i reaches hidden unit i only: its loss is (2 v_i)^2, with the second derivative 8 by v_i and no mixed ones.
    known = Evidence(
        network,
        prunable(network, [inputs[:1]]),
        batches=lambda: [((inputs[i : i + 1],), torch.zeros(1, 1)) for i in range(3)],
        loss=lambda outputs, targets: ((outputs - targets) ** 2).sum(),
    )
    np.testing.assert_allclose(scores("hessian", known), 0.5 * 8 * np.array([1.0, 4.0, 9.0]) / 3)


def test_bn_scale_is_the_magnitude_of_the_factor_and_spares_channels_without_one() -> None:
    network = torch.nn.Sequential(
        torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)
    ).eval()
    network[1].weight.data = torch.tensor([0.5, -2.0, 0.1])
    known = evidence(network)
    found = CRITERIA["bn-scale"].score(known)
    first, second = known.coupling.groups
    np.testing.assert_allclose(found[first.units], [0.5, 2.0, 0.1])
    assert np.isinf(found[second.units]).all()


def test_geometric_median_is_the_sum_of_distances_to_the_others() -> None:
    rows = module()[0].weight.detach().numpy().astype(float)
    expected = [sum(float(np.linalg.norm(row - other)) for other in rows) for row in rows]
    np.testing.assert_allclose(scores("geometric-median", evidence()), expected)


def test_distances_of_many_channels_are_computed_another_way() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 300, bias=False), torch.nn.Linear(300, 1, bias=False)).eval()
    rows = network[0].weight.detach().numpy().astype(float)
    expected = [float(np.linalg.norm(rows - row, axis=1).sum()) for row in rows]
    np.testing.assert_allclose(scores("geometric-median", evidence(network)), expected, rtol=1e-5)


def test_lamp_divides_by_all_that_are_no_weaker() -> None:
    np.testing.assert_allclose(scores("lamp", evidence()), [9 / 18.25, 1.3125 / 19.5625, 1.0])


def test_activation_is_one_minus_the_share_of_zeros() -> None:
    hidden = module()[1](module()[0](INPUTS)).detach().numpy()
    np.testing.assert_allclose(scores("activation", evidence()), (hidden != 0).mean(0))
    assert (hidden == 0).any()


def test_random_follows_from_the_seed() -> None:
    known = evidence()
    assert np.array_equal(scores("random", known), scores("random", known))
    assert not np.array_equal(scores("random", known), scores("random", replace(known, seed=1)))


@pytest.mark.parametrize("name", sorted(set(CRITERIA) - {"random", "bn-scale", "geometric-median"}))
def test_every_measure_of_effect_ranks_a_channel_without_one_last(name: CriterionName) -> None:
    network = module()
    network[0].weight.data[1], network[2].weight.data[0, 1] = 0.0, 0.0
    known = evidence(network)
    (group,) = known.coupling.groups
    found = judge(known, name)[group.units]
    assert found[1] == min(found)
    assert found[1] < max(found)


def test_lasso_takes_one_of_two_that_say_the_same() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)).eval()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.0], [1.1, 0.0], [0.0, 0.5]]))
        network[1].weight.copy_(torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    samples = torch.randn(500, 2)
    known = replace(evidence(network), samples=lambda: [(samples,)])
    first, second, third = scores("lasso", known)
    assert second == pytest.approx(1.0), "nothing is left without the largest"
    assert first < 1e-2, "what the other says is said already"
    assert third == pytest.approx(0.25 / (2.1**2 + 0.25), abs=0.02), "a channel of its own is worth its share"
    assert scores("l2", known).argmin() == 2, "and would go first where each is judged by itself"


def test_what_is_lost_is_what_least_squares_leave() -> None:
    generator = np.random.default_rng(0)
    data = generator.normal(size=(200, 4)) @ generator.normal(size=(4, 4))
    order, everything = np.array([0.3, 0.9, 0.1, 0.5]), data.sum(axis=1)
    found = lost_without(data.T @ data, order)
    for place in range(4):
        before = data[:, order > order[place]]
        factors = np.linalg.lstsq(before, everything, rcond=None)[0]
        left = np.square(everything - before @ factors).sum() / np.square(everything).sum()
        assert found[place] == pytest.approx(left, abs=1e-6)


def test_lasso_follows_the_path_of_the_definition() -> None:
    generator = np.random.default_rng(0)
    data = generator.normal(size=(200, 6)) @ generator.normal(size=(6, 6))
    products = data.T @ data
    found = path_of(products)
    for penalty in (0.5, 0.1, 0.02):
        # Solved anew, by proximal gradient steps.
        target, factors = products.sum(axis=1), np.zeros(6)
        step = 1 / np.linalg.eigvalsh(products).max()
        for _ in range(20_000):
            moved = factors + step * (target - products @ factors)
            factors = np.sign(moved) * np.maximum(np.abs(moved) - step * penalty * np.abs(target).max(), 0)
        clear = np.abs(found / penalty - 1) > 0.25  # further away than neighbouring penalties are
        np.testing.assert_array_equal((factors != 0)[clear], (found > penalty)[clear])
        assert clear.sum() >= 3


def test_channels_that_no_measured_layer_takes_in_stay_longest() -> None:
    network = torch.nn.Sequential(torch.nn.Conv1d(2, 4, 1), torch.nn.ConvTranspose1d(4, 2, 2)).eval()
    example = torch.randn(1, 2, 5)
    known = Evidence(network, prunable(network, [example]), samples=lambda: [(example,)])
    assert np.isinf(scores("lasso", known)).all()
