"""How sensitive layers are, and what follows from it."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import prunable_networks
import pytest
import torch

from edgecomp.compression.pruning import costs, sensitivity
from edgecomp.compression.pruning.channels import ChannelPruning
from edgecomp.compression.pruning.criteria import judge
from edgecomp.compression.pruning.evidence import Evidence
from edgecomp.compression.pruning.proof import prunable
from edgecomp.compression.pruning.sensitivity import Curve
from edgecomp.compression.pruning.structured import prune_channels
from edgecomp.errors import DataError, InputError
from edgecomp.frontends.torch_module import load_module
from edgecomp.target import load_target
from edgecomp.verification.metrics import Metrics
from edgecomp.workbench import Workbench


def network() -> torch.nn.Sequential:
    """The first hidden layer is half made of copies with opposite signs that cancel; the second needs everything."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)
    )
    with torch.no_grad():
        module[0].weight[8:] *= 1e-4
        module[0].bias[8:] = 0
    return module.eval()


def bench_of(**changes: Any) -> Workbench:
    source = load_module(network(), torch.rand(1, 8), name="net", subject="net")
    batches = [(np.random.default_rng(i).normal(size=(1, 8)).astype(np.float32),) for i in range(32)]
    return Workbench(replace(source, **changes), load_target("raspberry-pi-4b"), calibration=batches)


def test_a_curve_says_what_a_loss_of_quality_allows() -> None:
    curve = Curve((0.0, 0.5, 0.9), (1.0, 0.8, 0.2))
    assert [round(curve.share_within(loss), 3) for loss in (0.0, 0.1, 0.2, 0.5, 0.8, 2.0)] == [
        0.0,
        0.25,
        0.5,
        0.7,
        0.9,
        0.9,
    ]
    better = Curve((0.0, 0.5, 0.9), (1.0, 1.1, 0.2))
    assert better.share_within(0.0) == 0.5


def test_every_layer_and_share_is_one_measurement_and_the_module_stays() -> None:
    module, seen, told = network(), [], []
    coupling = prunable(module, [torch.rand(1, 8)])
    scores = judge(Evidence(module, coupling), "l2")
    before = copy.deepcopy(module.state_dict())

    def quality(each: torch.nn.Module) -> float:
        seen.append([layer.out_features for layer in each if isinstance(layer, torch.nn.Linear)])
        return 1.0

    curves = sensitivity.measure(module, coupling, scores, (0.25, 0.5), quality, lambda *each: told.append(each))
    assert seen == [[16, 16, 4], [12, 16, 4], [8, 16, 4], [16, 12, 4], [16, 8, 4]]
    assert told == [("sensitivity", done, 4) for done in range(5)]
    assert [curve.shares for curve in curves.values()] == [(0.0, 0.25, 0.5)] * 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_layers_with_channels_to_spare_lose_them() -> None:
    bench = bench_of()
    module = copy.deepcopy(bench.teacher)
    settings = ChannelPruning(keep=0.6, scope="sensitivity", multiple=1)
    facts = prune_channels(module, bench, settings).facts
    assert facts["kept"]["macs"] <= 0.6
    assert facts["channels"]["0"][1] == 8
    assert facts["channels"]["2"][1] > 8
    assert set(facts["sensitivity"]["0"]) == {"0.0", "0.25", "0.5", "0.75", "0.9"}
    assert facts["sensitivity"]["0"]["0.5"] > 0.999 > facts["sensitivity"]["2"]["0.5"]


def test_the_metric_on_training_data_decides_where_there_are_any() -> None:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(64, 8)).astype(np.float32)
    labels = network()(torch.from_numpy(inputs)).argmax(1).numpy()

    def metric(outputs: Any, wanted: Any) -> float:
        return float((outputs[0].argmax(1) == wanted).mean())

    def items() -> Iterator[Any]:
        yield (inputs,), labels

    bench = bench_of(train_data=items, metrics=Metrics(metric))
    assert sensitivity.quality_of(bench, 512)(bench.teacher) == 1.0
    facts = prune_channels(copy.deepcopy(bench.teacher), bench, ChannelPruning(scope="sensitivity", multiple=1)).facts
    assert facts["sensitivity"]["0"]["0.5"] == 1.0


def test_without_any_data_there_is_an_error() -> None:
    with pytest.raises(DataError, match="the sensitivity of layers"):
        prune_channels(network(), replace(bench_of(), calibration=None), ChannelPruning(scope="sensitivity"))


@pytest.mark.parametrize("of", ["bytes", "latency"])
def test_budgets_in_bytes_and_latency(of: Any) -> None:
    bench = bench_of()
    facts = prune_channels(copy.deepcopy(bench.teacher), bench, ChannelPruning(keep=0.6, of=of, multiple=1)).facts
    assert 0.3 < facts["kept"][of] <= 0.6


def test_a_latency_that_cannot_be_reached_says_what_the_smallest_is() -> None:
    with pytest.raises(InputError, match=r"at most \d+ latency.*(.|\n)*the smallest is"):
        prune_channels(network(), bench_of(), ChannelPruning(keep=0.01, of="latency"))


def test_unfilled_tiles_cost_as_much_as_filled_ones() -> None:
    module = prunable_networks.resnet().eval()
    coupling = prunable(module, [torch.rand(1, 3, 16, 16)])
    group = next(each for each in coupling.groups if each.name == "4.conv1")
    removed = coupling.nothing()
    removed[group.units[:7]] = True
    whole = costs.tiled_macs(coupling, coupling.nothing(), 8)
    assert costs.tiled_macs(coupling, removed, 8) == whole
    removed[group.units[:8]] = True
    assert costs.tiled_macs(coupling, removed, 8) < whole
    weights = sum(p.numel() * (1 if p.dim() > 1 else 4) for p in module.parameters())
    assert costs.stored_bytes(coupling, coupling.nothing()) == weights
