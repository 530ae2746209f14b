"""What is left behind removed channels gives what was there before, as far as inputs allow."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from edgecomp.compression.pruning.channels import ChannelPruning
from edgecomp.compression.pruning.structured import prune_channels
from edgecomp.errors import DataError
from edgecomp.frontends.torch_module import load_module
from edgecomp.target import load_target
from edgecomp.workbench import Workbench


class Copies(nn.Module):
    """Half of the hidden channels are sums of others, so that nothing is lost without them."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        makers = {"linear": nn.Linear(6, 16), "image": nn.Conv2d(6, 16, 1), "time": nn.Conv1d(6, 16, 1, bias=False)}
        takers = {
            "linear": nn.Linear(16, 4),
            "image": nn.Conv2d(16, 4, 2, stride=2),
            "time": nn.Conv1d(16, 4, 3, dilation=2, bias=False),
        }
        self.first, self.second = makers[kind], takers[kind]
        with torch.no_grad():
            self.first.weight[8:] = 0.1 * self.first.weight[:8] + 0.05 * self.first.weight[:8].flip(0)
            if self.first.bias is not None:
                self.first.bias[8:] = 0.3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.second(self.first(x))
        return outputs


SHAPES = {"linear": (1, 6), "image": (1, 6, 8, 8), "time": (1, 6, 12)}


def bench_of(kind: str) -> Workbench:
    module = Copies(kind).eval()
    batches = [(np.random.default_rng(index).normal(size=SHAPES[kind]).astype(np.float32),) for index in range(400)]
    source = load_module(module, torch.rand(SHAPES[kind]), name="net", subject="net")
    return Workbench(source, load_target("raspberry-pi-4b"), calibration=batches)


@pytest.mark.parametrize("kind", SHAPES)
def test_what_can_be_made_of_the_rest_is_not_lost(kind: str) -> None:
    bench = bench_of(kind)
    unseen = torch.randn(16, *SHAPES[kind][1:], generator=torch.Generator().manual_seed(1))
    errors = {}
    for reconstruct in (False, True):
        module = copy.deepcopy(bench.teacher)
        settings = ChannelPruning(keep=0.5, of="channels", multiple=1, reconstruct=reconstruct)
        facts = prune_channels(module, bench, settings).facts
        assert facts["channels"] == {"first": [16, 8]}
        assert facts.get("reconstructed", []) == (["second"] if reconstruct else [])
        errors[reconstruct] = float((module(unseen) - bench.teacher(unseen)).detach().square().mean())
    assert errors[True] < 0.15 * errors[False]


def test_it_needs_calibration_data() -> None:
    source = load_module(Copies("linear").eval(), torch.rand(1, 6), name="net", subject="net")
    bench = Workbench(source, load_target("raspberry-pi-4b"))
    with pytest.raises(DataError, match="the calibration data"):
        prune_channels(copy.deepcopy(bench.teacher), bench, ChannelPruning(multiple=1, reconstruct=True))
