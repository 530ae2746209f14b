"""Layers become thin ones where that costs less, and compute nearly the same."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgecomp.compression import size
from edgecomp.compression.low_rank import schemes
from edgecomp.compression.low_rank.factorization import factorize
from edgecomp.compression.low_rank.settings import LowRank
from edgecomp.compression.low_rank.sites import find_sites
from edgecomp.errors import InputError
from edgecomp.frontends.torch_module import load_module
from edgecomp.target import load_target
from edgecomp.workbench import Workbench

LAYERS = {
    "linear": (nn.Linear(12, 10), (2, 3, 12), "svd", (10,)),
    "without a bias": (nn.Linear(12, 10, bias=False), (2, 12), "svd", (10,)),
    "1x1": (nn.Conv2d(6, 8, 1, stride=2), (1, 6, 9, 9), "svd", (6,)),
    "1x1 along time": (nn.Conv1d(6, 8, 1), (1, 6, 9), "svd", (6,)),
    "tucker": (nn.Conv2d(6, 8, 3, (2, 1), 1), (1, 6, 9, 9), "tucker", (8, 6)),
    "dilated": (nn.Conv2d(6, 8, 3, 1, 2, 2), (1, 6, 9, 9), "tucker", (8, 6)),
    "spatial": (nn.Conv2d(6, 8, (3, 5), (2, 1), (1, 2)), (1, 6, 9, 9), "spatial", (18,)),
    "circular": (nn.Conv2d(6, 8, 3, 1, 1, padding_mode="circular"), (1, 6, 9, 9), "spatial", (18,)),
    "cp": (nn.Conv2d(3, 2, 3, (1, 2), 1), (1, 3, 9, 9), "cp", (18, 18)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_at_full_rank_the_thin_layers_compute_the_same(name: str) -> None:
    layer, shape, scheme, ranks = LAYERS[name]
    example = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    module = nn.Sequential(layer)
    (site,) = find_sites(module, [example])
    with torch.no_grad():
        made = schemes.SCHEMES[scheme].build(site, ranks)  # type: ignore[index]
        torch.testing.assert_close(made(example), layer(example), rtol=1e-2, atol=1e-3)
    arrays = (example.numpy(),)
    assert sum(work.macs() for work in schemes.SCHEMES[scheme].work(site, ranks)) == size.macs(made, arrays)  # type: ignore[index]
    assert schemes.original(site).macs() == site.macs == size.macs(module, arrays)


def low_rank_network() -> nn.Module:
    """Its middle layers have few directions that matter, and its last one has none to spare."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 4),
    )
    with torch.no_grad():
        network[2].weight.copy_(
            torch.einsum("op,pqhw,qi->oihw", torch.randn(32, 4), torch.randn(4, 4, 3, 3), torch.randn(4, 32))
        )
        network[4].weight.copy_((torch.randn(64, 4) @ torch.randn(4, 32))[..., None, None])
    return network.eval()


def bench_of(module: nn.Module) -> Workbench:
    example = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    return Workbench(load_module(module, example, name="net", subject="net"), load_target("raspberry-pi-4b"))


def test_only_what_costs_less_is_factorized() -> None:
    bench = bench_of(low_rank_network())
    module = copy.deepcopy(bench.teacher)
    changed = factorize(module, bench, LowRank(energy=0.999))
    assert changed.facts["factorized"] == {
        "2": {"scheme": "tucker", "ranks": [8, 8]},
        "4": {"scheme": "svd", "ranks": [8]},
    }
    example = torch.from_numpy(bench.source.inputs[0])
    torch.testing.assert_close(module(example), bench.teacher(example), rtol=1e-3, atol=1e-3)
    share = size.macs(module, bench.source.inputs) / size.macs(bench.teacher, bench.source.inputs)
    assert changed.facts["kept"] == pytest.approx(share, abs=1e-4)
    assert share < 0.5


def test_a_rank_that_fills_the_kernels_tiles_saves_nothing_in_a_small_layer() -> None:
    module = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16)).eval()
    source = load_module(module, torch.rand(1, 16), name="net", subject="net")
    bench = Workbench(source, load_target("raspberry-pi-5"))
    assert load_target("raspberry-pi-5").cpu.simd_channels == 16
    assert factorize(copy.deepcopy(module), bench, LowRank(energy=0.01)).facts["factorized"] == {}
    assert factorize(copy.deepcopy(module), bench, LowRank(energy=0.01, multiple=1)).facts["factorized"] != {}


def test_a_budget_is_met() -> None:
    torch.manual_seed(0)
    bench = bench_of(nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3), nn.Conv2d(32, 64, 1)).eval())
    module = copy.deepcopy(bench.teacher)
    factorize(module, bench, LowRank(ranks="budget", keep=0.6, multiple=1))
    share = size.macs(module, bench.source.inputs) / size.macs(bench.teacher, bench.source.inputs)
    assert 0.5 < share <= 0.6


def test_a_budget_that_cannot_be_met_says_what_the_smallest_is() -> None:
    bench = bench_of(low_rank_network())
    with pytest.raises(InputError, match=r"the smallest is \d+, \d"):
        factorize(copy.deepcopy(bench.teacher), bench, LowRank(ranks="budget", keep=0.01))


def test_vbmf_finds_the_directions_that_matter() -> None:
    bench = bench_of(low_rank_network())
    with torch.no_grad():
        for index in (2, 4):
            bench.teacher[index].weight.add_(0.3 * torch.randn_like(bench.teacher[index].weight))  # type: ignore[index]
    changed = factorize(copy.deepcopy(bench.teacher), bench, LowRank(ranks="vbmf", multiple=1))
    assert changed.facts["factorized"]["2"] == {"scheme": "tucker", "ranks": [4, 4]}
    assert changed.facts["factorized"]["4"] == {"scheme": "svd", "ranks": [4]}


def test_calibration_data_tell_which_directions_matter() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32)).eval()
    scales = np.geomspace(10, 0.01, 32, dtype=np.float32)
    batches = [(np.random.default_rng(i).normal(size=(16, 32)).astype(np.float32) * scales,) for i in range(4)]
    source = load_module(module, torch.rand(16, 32), name="net", subject="net")
    bench = Workbench(source, load_target("raspberry-pi-4b"), calibration=batches)
    inputs = torch.cat([torch.from_numpy(batch) for (batch,) in batches])
    errors = {}
    for aware in (True, False):
        made = copy.deepcopy(module)
        factorize(made, bench, LowRank(ranks="budget", keep=0.6, data_aware=aware, multiple=1))
        errors[aware] = (made(inputs) - module(inputs)).square().sum().item()
    assert errors[True] < 0.5 * errors[False]


def test_a_shared_layer_is_factorized_once_and_still_shared() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(32, 32)
            self.two, self.three = nn.Linear(32, 32), self.one

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.three(self.two(self.one(x)))

    bench = bench_of(low_rank_network())
    module = Shared().eval()
    source = load_module(module, torch.rand(1, 32), name="net", subject="net")
    factorize(module, replace(bench, source=source), LowRank(energy=0.1, protected=("two",)))
    assert module.one is module.three
    assert isinstance(module.one, nn.Sequential)
    assert isinstance(module.two, nn.Linear)


def test_a_subclass_is_factorized_where_it_computes_what_its_base_class_does() -> None:
    class Padded(nn.Conv2d):
        """Pads by itself, as networks from TensorFlow do."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            extra = self.kernel_size[0] - 1
            return super().forward(nn.functional.pad(x, (0, extra, 0, extra)))

    module = nn.Sequential(Padded(8, 8, 1), Padded(8, 8, 3)).eval()
    assert [site.path for site in find_sites(module, [torch.rand(1, 8, 6, 6)])] == ["0"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"energy": 1.0}, "the share of the squared singular values left"),
        ({"keep": 0.0}, "the share of the multiplications that is left"),
        ({"matrices": False, "kernels": "none"}, "something to factorize"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LowRank(**settings)  # type: ignore[arg-type]
