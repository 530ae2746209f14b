"""A budget is met where it does least harm, which few samples must not be believed about."""

import copy
import itertools

import numpy as np
import torch
from torch import nn

from edgecomp.compression.low_rank import allocation
from edgecomp.compression.low_rank.allocation import Choice
from edgecomp.compression.low_rank.factorization import factorize
from edgecomp.compression.low_rank.settings import LowRank
from edgecomp.compression.low_rank.sites import Site
from edgecomp.compression.moments import Moments
from edgecomp.frontends.torch_module import load_module
from edgecomp.target import load_target
from edgecomp.workbench import Workbench


def test_no_other_choice_of_as_many_multiplications_does_less_harm() -> None:
    layers = {name: Site(name, nn.Linear(8, 8)) for name in "abc"}
    options = {
        name: [Choice(layers[name], "svd", (rank,), 10 * (8 - rank), (8 - rank) ** 2 / 64) for rank in range(1, 8)]
        for name in "abc"
    }
    harm = {"a": 1.0, "b": 0.1, "c": 10.0}

    def cost(choices: tuple[Choice | None, ...]) -> float:
        return sum(harm[each.site.path] * each.loss for each in choices if each is not None)

    for goal in (1, 60, 130, 200):
        chosen = allocation.least_harmful(options, harm, goal)
        saved = sum(choice.saved for choice in chosen)
        assert saved >= goal
        others = itertools.product(*([None, *options[name]] for name in "abc"))
        rivals = [each for each in others if sum(one.saved for one in each if one is not None) >= saved]
        assert cost(tuple(chosen)) <= min(map(cost, rivals)) + 1e-9


def test_harm_is_measured_and_leaves_the_module_as_it_was() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)).eval().requires_grad_(False)
    module[1].weight *= 1e-6  # little of what is in front of it comes through
    layers = dict(module.named_children())
    example = torch.rand(4, 16)
    wanted = module(example)
    options = {name: [Choice(Site(name, layer), "svd", (4,), 100, 0.05)] for name, layer in layers.items()}  # type: ignore[arg-type]
    found = allocation.harm(module, options, lambda each: -round((each(example) - wanted).abs().sum().item(), 3))
    assert torch.equal(module(example), wanted)
    assert found["0"] == allocation._LEAST_HARM / allocation._PROBE
    assert found["2"] > 10 * found["0"]
    assert found == allocation.harm(
        module, options, lambda each: -round((each(example) - wanted).abs().sum().item(), 3)
    )


def test_few_samples_do_not_hide_directions() -> None:
    rows = torch.randn(4000, 32, generator=torch.Generator().manual_seed(0)) * torch.linspace(3, 0.1, 32)
    many, few = Moments(32), Moments(32)
    many.add(rows)
    few.add(rows[:8])
    torch.testing.assert_close(many.covariance, torch.cov(rows.double().T, correction=0), rtol=0.1, atol=0.05)
    assert torch.linalg.matrix_rank(few.covariance) == 32
    raw = torch.cov(rows[:8].double().T, correction=0)
    torch.testing.assert_close(few.covariance.trace(), raw.trace())
    truth = torch.cov(rows.double().T)
    assert (few.covariance - truth).norm() < (raw - truth).norm()
    # The places of one picture are no samples of their own.
    pictures = Moments(32)
    pictures.add(rows[:4000].reshape(8, 500, 32))
    assert (pictures.covariance - truth).norm() > (many.covariance - truth).norm()


def test_a_classifier_keeps_its_answers_on_data_that_a_few_samples_did_not_show() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 256)).eval()
    batches = [(np.random.default_rng(index).normal(size=(1, 8)).astype(np.float32),) for index in range(6)]
    source = load_module(module, torch.rand(1, 8), name="net", subject="net")
    bench = Workbench(source, load_target("raspberry-pi-4b"), calibration=batches)
    made = copy.deepcopy(module)
    facts = factorize(made, bench, LowRank(ranks="budget", keep=0.8)).facts
    assert facts["factorized"]["2"]["ranks"][0] >= 40  # eight inputs are all that six samples show
    unseen = torch.randn(200, 8)
    agree = (made(unseen).argmax(1) == module(unseen).argmax(1)).float().mean()
    assert agree > 0.4
