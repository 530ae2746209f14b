"""Whole residual blocks go, those first that change least."""

import copy

import numpy as np
import prunable_networks
import pytest
import torch

from edgecomp.compression import size
from edgecomp.compression.pruning.blocks import BlockPruning
from edgecomp.compression.pruning.residual import Skipped, influence, prune_blocks, residual_blocks
from edgecomp.errors import DataError, InputError
from edgecomp.frontends.torch_module import load_module
from edgecomp.target import load_target
from edgecomp.workbench import Workbench


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    module = prunable_networks.resnet().eval()
    with torch.no_grad():
        module[6].bn2.weight.mul_(0.01)  # type: ignore[index, union-attr]  # a block that hardly changes anything
    return module


def bench_of(calibration: bool = True) -> Workbench:
    source = load_module(network(), torch.rand(1, 3, 16, 16), name="net", subject="net")
    batches = [(np.random.default_rng(i).random((1, 3, 16, 16), np.float32),) for i in range(4)]
    return Workbench(source, load_target("raspberry-pi-4b"), calibration=batches if calibration else None)


def test_blocks_add_to_what_they_are_given_in_the_same_shape() -> None:
    assert residual_blocks(network(), [torch.rand(1, 3, 16, 16)]) == ["3", "6"]
    transformer = prunable_networks.Transformer().eval()
    assert residual_blocks(transformer, [torch.rand(1, 5, 6)]) == ["blocks.0", "blocks.1"]
    assert residual_blocks(prunable_networks.UNet().eval(), [torch.rand(1, 3, 16, 16)]) == []


def test_blocks_may_be_given_a_mask_too() -> None:
    class Masked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(6, 6)

        def forward(self, x: torch.Tensor, mask: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            return x + scale * self.inner(x) * mask

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Masked(), Masked()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mask = (x > 0).float()
            return self.second(self.first(x, mask), mask, scale=0.5)

    module, example = Network().eval(), torch.randn(2, 6)
    assert residual_blocks(module, [example]) == ["first", "second"]
    source = load_module(copy.deepcopy(module), example, name="net", subject="net")
    bench = Workbench(source, load_target("raspberry-pi-4b"), calibration=[(example.numpy(),)])
    (removed,) = prune_blocks(module, bench, BlockPruning(keep=0.5)).facts["removed"]
    left = {"first": "second", "second": "first"}[removed]
    mask = (example > 0).float()
    expected = module.get_submodule(left)(example, mask, scale=0.5 if left == "second" else 1.0)
    torch.testing.assert_close(module(example), expected)


def test_influence_is_one_minus_the_cosine() -> None:
    module, example = network(), torch.rand(2, 3, 16, 16)
    inside = {}
    module[6].register_forward_hook(lambda _, args, output: inside.update(given=args[0], made=output))  # type: ignore[index]
    (found,) = influence(module, ["6"], [(example,)]).values()
    given, made = (inside[key].flatten(1).double() for key in ("given", "made"))
    expected = 1 - ((given * made).sum(1) / (given.norm(dim=1) * made.norm(dim=1))).mean()
    assert found == pytest.approx(float(expected.detach()), abs=1e-5)


def test_the_block_that_changes_least_goes_first() -> None:
    bench = bench_of()
    module = copy.deepcopy(bench.teacher)
    facts = prune_blocks(module, bench, BlockPruning(keep=0.9)).facts
    assert facts["removed"] == ["6"]
    assert isinstance(module[6], Skipped)  # type: ignore[index]
    assert size.macs(module, bench.source.inputs) / size.macs(bench.teacher, bench.source.inputs) <= 0.9
    example = torch.from_numpy(bench.source.inputs[0])
    torch.testing.assert_close(module(example), bench.teacher(example), rtol=0.05, atol=0.02)


def test_protected_blocks_stay() -> None:
    bench = bench_of()
    facts = prune_blocks(copy.deepcopy(bench.teacher), bench, BlockPruning(keep=0.9, protected=("6",))).facts
    assert facts["removed"] == ["3"]


def test_a_protected_block_has_to_exist() -> None:
    bench = bench_of()
    with pytest.raises(InputError, match=r"protected = 'blocks\.\*'[\s\S]*no such module among 0, 1"):
        prune_blocks(copy.deepcopy(bench.teacher), bench, BlockPruning(protected=("6", "blocks.*")))


def test_a_budget_that_cannot_be_met_says_what_the_smallest_is() -> None:
    bench = bench_of()
    with pytest.raises(InputError, match=r"without all of its 2 residual blocks"):
        prune_blocks(copy.deepcopy(bench.teacher), bench, BlockPruning(keep=0.1))


def test_calibration_data_are_needed() -> None:
    bench = bench_of(calibration=False)
    with pytest.raises(DataError, match="calibration"):
        prune_blocks(copy.deepcopy(bench.teacher), bench, BlockPruning())


def test_a_share_is_between_nothing_and_everything() -> None:
    with pytest.raises(InputError, match="the share of the multiplications that is left"):
        BlockPruning(keep=1.0)
