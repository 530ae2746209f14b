"""What is removed is gone, and what is left computes what it did."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import prunable_networks
import pytest
import torch
from processor_time import least_seconds

from edgecomp import artifact
from edgecomp.compression import size
from edgecomp.compression.pruning import costs
from edgecomp.compression.pruning.channels import ChannelPruning
from edgecomp.compression.pruning.coupling import Coupling, Removed
from edgecomp.compression.pruning.proof import prunable
from edgecomp.compression.pruning.selection import Limits, filled, ranked, within_budget
from edgecomp.compression.pruning.structured import prune_channels
from edgecomp.compression.pruning.surgery import cut, mask
from edgecomp.compression.training.masks import apply_masks, mask_of, set_mask
from edgecomp.errors import DataError, InputError, SourceError
from edgecomp.frontends.source import Source
from edgecomp.frontends.torch_module import load_module
from edgecomp.pipeline import compress
from edgecomp.recipe import Recipe, load_recipe
from edgecomp.target import load_target
from edgecomp.workbench import Workbench


def source_of(name: str) -> Source:
    torch.manual_seed(0)
    make, shape, _ = prunable_networks.NETWORKS[name]
    return load_module(make().eval(), torch.rand(shape), name=name, subject=name)


def bench_of(name: str) -> Workbench:
    return Workbench(source_of(name), load_target("raspberry-pi-4b"))


def random_half(coupling: Coupling) -> Removed:
    removed, generator = coupling.nothing(), np.random.default_rng(0)
    for group in coupling.groups:
        removed[generator.permutation(group.units)[: len(group.units) // 2]] = True
    return removed


@pytest.mark.parametrize("name", prunable_networks.NETWORKS)
def test_cutting_channels_is_setting_them_to_zero(name: str) -> None:
    torch.manual_seed(0)
    make, shape, layers = prunable_networks.NETWORKS[name]
    module, example = make().eval(), torch.rand(shape)
    coupling = prunable(module, [example])
    assert {group.name for group in coupling.groups} == layers
    removed = random_half(coupling)
    masked, smaller = copy.deepcopy(module), copy.deepcopy(module)
    mask(masked, coupling, removed)
    cut(smaller, coupling, removed)
    torch.testing.assert_close(smaller(example), masked(example))
    assert size.parameters(smaller) == costs.parameters(coupling, removed) < size.parameters(module)
    assert all(child.weight.grad_fn is None for child in smaller.modules() if isinstance(child, torch.nn.Linear))


@pytest.mark.parametrize("name", ["resnet", "u-net", "shuffle", "transformer", "fixed", "recurrent"])
def test_costs_follow_from_the_labels_alone(name: str) -> None:
    torch.manual_seed(0)
    make, shape, _ = prunable_networks.NETWORKS[name]
    module, example = make().eval(), torch.rand(shape)
    coupling = prunable(module, [example])
    removed = random_half(coupling)
    assert costs.macs(coupling, coupling.nothing()) == size.macs(module, (example.numpy(),))
    cut(module, coupling, removed)
    assert costs.macs(coupling, removed) == size.macs(module, (example.numpy(),))


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize(("of", "measure"), [("macs", costs.macs), ("parameters", costs.parameters)])
def test_a_budget_is_met_and_not_much_more(scope: str, of: str, measure: object) -> None:
    bench = bench_of("resnet")
    module = copy.deepcopy(bench.teacher)
    settings = ChannelPruning(keep=0.5, of=of, scope=scope, multiple=1)  # type: ignore[arg-type]
    changed = prune_channels(module, bench, settings)
    arrays = bench.source.inputs
    counts = {"macs": size.macs, "parameters": lambda each, _: size.parameters(each)}
    share = counts[of](module, arrays) / counts[of](bench.teacher, arrays)
    assert 0.42 < share <= 0.5
    assert changed.facts["kept"][of] == pytest.approx(share, abs=1e-4)


def test_channels_are_left_in_multiples_that_the_target_likes() -> None:
    bench = bench_of("resnet")
    module = copy.deepcopy(bench.teacher)
    changed = prune_channels(module, bench, ChannelPruning(keep=0.6, criterion="random"))
    assert load_target("raspberry-pi-4b").cpu.simd_channels == 8
    widths = changed.facts["channels"]
    assert all(after % 8 == 0 and after > 0 for _, after in widths.values())
    assert any(after < before for before, after in widths.values())


def test_what_multiples_leave_of_a_budget_goes_to_the_most_valuable_channels() -> None:
    bench = bench_of("resnet")
    module = copy.deepcopy(bench.teacher)
    coupling = prunable(module, [torch.from_numpy(bench.source.inputs[0])])
    scores = np.random.default_rng(0).random(coupling.units)
    limits, budget = Limits(8), 0.55 * costs.macs(coupling, coupling.nothing())

    def cost(removed: Removed) -> int:
        return costs.macs(coupling, removed)

    first, spent = within_budget(lambda strength: ranked(coupling, scores, strength, limits), cost, budget)
    then = filled(coupling, scores, first, limits, cost, budget)
    assert spent < cost(then) <= budget
    assert not (then & ~first).any(), "nothing more goes"
    for units in (group.units for group in coupling.groups):
        back, gone = units[first[units] & ~then[units]], units[then[units]]
        assert len(units) - len(gone) >= 8
        assert not (len(units) - len(gone)) % 8
        assert min(scores[back], default=1) > max(scores[gone], default=0), "the best of each group come back"
        more = then.copy()
        more[gone[np.argsort(scores[gone])[-8:]]] = False
        assert not len(gone) or cost(more) > budget, "no group has room for more"


def test_every_layer_keeps_something_however_little_is_asked_for() -> None:
    bench = bench_of("resnet")
    module = copy.deepcopy(bench.teacher)
    changed = prune_channels(module, bench, ChannelPruning(keep=0.001, of="channels", most=0.999, multiple=1))
    assert {after for _, after in changed.facts["channels"].values()} == {1}
    assert module(torch.rand(1, 3, 16, 16)).shape == (1, 10)


def test_protected_layers_keep_their_outputs() -> None:
    bench = bench_of("resnet")
    module = copy.deepcopy(bench.teacher)
    changed = prune_channels(module, bench, ChannelPruning(of="channels", multiple=1, protected=("4.*", "0")))
    assert set(changed.facts["channels"]) == {"3.conv1", "5.down", "6.conv1"}
    assert changed.facts["left_alone"]["4.conv1.weight"] == "protected"


def test_why_layers_were_left_alone() -> None:
    left = prune_channels(*_module_and_bench("fixed"), ChannelPruning(multiple=1, of="channels")).facts["left_alone"]
    assert left["out.weight"] == "an output of the model"
    assert "the code of Fixed expects its size" in left["first.weight"]


def test_an_operation_without_a_rule_pins_down_what_it_touches() -> None:
    class Sorted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 8), torch.nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x).sort(dim=1).values)

    coupling = prunable(Sorted().eval(), [torch.rand(1, 4)])
    assert coupling.groups == ()
    assert "no rule for aten.sort" in coupling.fixed["first.weight"]


def test_a_shared_module_is_pruned_in_step_with_all_its_uses() -> None:
    class Shared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again, self.out = torch.nn.Linear(4, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.again(self.again(self.first(x))))

    torch.manual_seed(0)
    module, example = Shared().eval(), torch.rand(1, 4)
    coupling = prunable(module, [example])
    assert [(group.name, len(group.units)) for group in coupling.groups] == [("first", 8)]
    masked = copy.deepcopy(module)
    removed = random_half(coupling)
    mask(masked, coupling, removed)
    cut(module, coupling, removed)
    torch.testing.assert_close(module(example), masked(example))


def _module_and_bench(name: str) -> tuple[torch.nn.Module, Workbench]:
    bench = bench_of(name)
    return copy.deepcopy(bench.teacher), bench


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": 0.0}, "the share of the macs that is left"),
        ({"keep": 1.0}, "the share of the macs that is left"),
        ({"most": 1.5}, "the largest share of a layer that may go"),
    ],
)
def test_shares_are_between_nothing_and_everything(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ChannelPruning(**settings)  # type: ignore[arg-type]


def test_a_budget_that_cannot_be_met_says_what_the_smallest_is() -> None:
    with pytest.raises(InputError, match=r"the smallest is \d+, \d") as caught:
        prune_channels(*_module_and_bench("resnet"), ChannelPruning(keep=0.01))
    smallest = float(caught.value.cure.split()[3])
    module, bench = _module_and_bench("resnet")
    changed = prune_channels(module, bench, ChannelPruning(keep=smallest))
    assert changed.facts["kept"]["macs"] <= smallest


def test_nothing_to_remove_is_an_error_that_says_why() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 2)).eval()
    source = load_module(module, torch.rand(1, 4), name="net", subject="net")
    with pytest.raises(InputError, match=r"no channel can be removed; 0.weight: an output of the model"):
        prune_channels(copy.deepcopy(module), Workbench(source, load_target("raspberry-pi-4b")), ChannelPruning())


def test_a_protected_layer_has_to_exist() -> None:
    with pytest.raises(InputError, match=r"protected = 'head\*'"):
        prune_channels(*_module_and_bench("resnet"), ChannelPruning(protected=("head*",)))


def test_gradients_need_training_data() -> None:
    with pytest.raises(DataError, match="the criterion taylor"):
        prune_channels(*_module_and_bench("resnet"), ChannelPruning(criterion="taylor"))


def test_a_module_that_does_not_run() -> None:
    with pytest.raises(SourceError, match="a module that runs on its example inputs"):
        prunable(torch.nn.Linear(4, 2), [torch.rand(1, 5)])


def test_a_forward_that_depends_on_its_data_is_refused() -> None:
    class Choosing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.low, self.high = torch.nn.Linear(4, 8), torch.nn.Linear(8, 2), torch.nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return self.high(x).relu() if x.max() > 100 else self.low(x)

    with pytest.raises(SourceError, match="for other numbers it takes another path, at aten"):
        prunable(Choosing().eval(), [torch.full((1, 4), 1e4)])


RECIPE = """
schema = 1
target = "raspberry-pi-4b"

[[steps]]
kind = "prune-channels"
keep = 0.5
protected = ["0"]

[[steps]]
kind = "static-int8"
"""


def test_artifacts_of_a_pruned_network_are_smaller_and_agree(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    source = source_of("resnet")
    samples = [(np.random.default_rng(0).random((1, 3, 16, 16), np.float32),) for _ in range(16)]
    results = {
        name: compress(source, "raspberry-pi-4b", tmp_path / name, recipe=recipe, calibration=lambda: samples)
        for name, recipe in [
            ("whole", Recipe("raspberry-pi-4b", steps=load_recipe(tmp_path / "recipe.toml").steps[1:])),
            ("pruned", load_recipe(tmp_path / "recipe.toml")),
        ]
    }
    for name, path in results["pruned"].artifacts.items():
        assert path.stat().st_size < 0.8 * results["whole"].artifacts[name].stat().st_size
        assert artifact.load(path).predict(samples[0])["output"].shape == (1, 10)
    assert results["pruned"].verification.violations == ()
    step = next(each for each in results["pruned"].manifest["provenance"] if each["name"] == "prune-channels")
    assert step["settings"]["multiple"] == "target"
    assert step["facts"]["macs"] <= 0.5 * size.macs(source.module, source.inputs)
    assert load_recipe(tmp_path / "pruned" / "recipe.toml").steps[0] == ChannelPruning(protected=("0",))


def test_masks_are_cut_with_their_weights_and_keep_them_zero() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
    set_mask(module[0], "weight", torch.rand(8, 4) > 0.5)
    coupling = prunable(module, [torch.rand(1, 4)])
    removed = random_half(coupling)
    zeros = (module[0].weight == 0)[torch.from_numpy(~removed[coupling.labels["0.weight"][0]])]
    cut(module, coupling, removed)
    found = mask_of(module[0], "weight")
    assert found is not None
    assert torch.equal(found, ~zeros)
    torch.nn.init.ones_(module[0].weight)
    apply_masks(module)
    assert torch.equal(module[0].weight == 0, zeros)


def test_gradients_of_the_training_data_decide() -> None:
    source = source_of("recurrent")
    generator = torch.Generator().manual_seed(0)
    items = [((torch.rand(2, 5, 6, generator=generator).numpy(),), np.array([0, 2])) for _ in range(3)]
    bench = replace(bench_of("recurrent"), source=replace(source, train_data=lambda: items))
    for criterion in ("taylor", "fisher", "hessian"):
        module = copy.deepcopy(bench.teacher)
        changed = prune_channels(module, bench, ChannelPruning(criterion=criterion, multiple=1))
        assert changed.facts["kept"]["macs"] <= 0.5
        assert module(torch.rand(2, 5, 6)).shape == (2, 3)


def test_a_network_of_a_hundred_layers_takes_three_seconds() -> None:
    torch.manual_seed(0)
    blocks = [prunable_networks.Residual(32, 32) for _ in range(49)]
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3, 1, 1), *blocks, torch.nn.Flatten(), torch.nn.Linear(2048, 8))
    module.eval()
    source = load_module(module, torch.rand(1, 3, 8, 8), name="net", subject="net")
    bench = Workbench(source, load_target("raspberry-pi-4b"))
    assert least_seconds(lambda: prune_channels(copy.deepcopy(module), bench, ChannelPruning())) < 3
