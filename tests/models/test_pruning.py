"""Channels and heads of real networks: what is cut out is what was zero."""

import copy
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgecomp.compression.low_rank.factorization import factorize
from edgecomp.compression.low_rank.settings import LowRank
from edgecomp.compression.pruning.proof import prunable
from edgecomp.compression.pruning.surgery import cut, mask
from edgecomp.compression.size import macs
from edgecomp.frontends import load_source
from edgecomp.target import load_target
from edgecomp.workbench import Workbench

pytestmark = pytest.mark.models

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "groups", "fixed"),
    [
        ("efficientnet_lite0", 24, {"_fc.weight"}),
        ("minilm", 12, {"words.weight", "positions.weight", "kinds.weight"}),
    ],
)
def test_half_of_everything_is_cut(name: str, groups: int, fixed: set[str]) -> None:
    task = example(name)
    module, inputs = task.model().eval(), task.example_inputs()
    inputs = tuple(each if each.any() else torch.rand(each.shape) for each in inputs)
    coupling = prunable(module, inputs)
    assert len(coupling.groups) == groups
    assert fixed <= set(coupling.fixed)
    removed, generator = coupling.nothing(), np.random.default_rng(0)
    for group in coupling.groups:
        removed[generator.permutation(group.units)[: len(group.units) // 2]] = True
    masked = copy.deepcopy(module)
    mask(masked, coupling, removed)
    cut(module, coupling, removed)
    with torch.inference_mode():
        torch.testing.assert_close(module(*inputs), masked(*inputs), rtol=1e-3, atol=1e-4)


def test_what_low_rank_saves_on_efficientnet_is_what_its_facts_say() -> None:
    source = load_source(EXAMPLES / "efficientnet_lite0.py")
    bench = Workbench(source, load_target("raspberry-pi-4b"))
    module = copy.deepcopy(bench.teacher)
    facts = factorize(module, bench, LowRank(ranks="budget", keep=0.9)).facts
    share = macs(module, source.inputs) / macs(bench.teacher, source.inputs)
    assert 0.85 < share <= 0.9
    assert facts["kept"] == pytest.approx(share, abs=1e-4)
    # The network's convolutions are of a subclass that pads by itself: 1x1 ones are plain, the others stay.
    assert {choice["scheme"] for choice in facts["factorized"].values()} == {"svd"}
