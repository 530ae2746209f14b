"""Embedding tables in two factors: words that occur stay what they are, the others nearly so."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgecomp
from edgecomp.compression.low_rank.embeddings import LowRankEmbeddings
from edgecomp.compression.low_rank.tables import find_tables
from edgecomp.errors import InputError
from edgecomp.frontends.torch_module import load_module
from edgecomp.quantization.static import StaticQuantization
from edgecomp.recipe import Recipe
from edgecomp.target import load_target
from edgecomp.workbench import Workbench

WORDS, WIDTH, FREQUENT = 200, 32, 12


class Reader(nn.Module):
    """The mean of words and places, and what follows from it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places = nn.Embedding(WORDS, WIDTH, padding_idx=0), nn.Embedding(8, WIDTH)
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head((self.words(ids) + self.places(torch.arange(ids.shape[1]))).mean(dim=1))


def texts(count: int = 64) -> list[tuple[np.ndarray[Any, Any]]]:
    """Most of them of a few words only."""
    generator = np.random.default_rng(0)
    return [(generator.integers(1, WORDS if index % 8 == 0 else FREQUENT, (1, 8)),) for index in range(count)]


def bench_of(module: nn.Module, calibration: Sequence[Any] | None) -> Workbench:
    source = load_module(module, torch.ones(1, 8, dtype=torch.long), name="net", subject="net")
    return Workbench(source, load_target("raspberry-pi-4b"), calibration=calibration)


def test_it_is_smaller_by_as_much_as_was_asked_for() -> None:
    module = Reader().eval()
    changed = LowRankEmbeddings(keep=0.5, multiple=1).apply(module, bench_of(Reader().eval(), texts()))
    sizes = [sum(each.numel() for each in part.parameters()) for part in (module.words, module.places)]
    assert changed.facts["kept"] == pytest.approx(sum(sizes) / ((WORDS + 8) * WIDTH), abs=1e-4)
    assert 0.4 < changed.facts["kept"] <= 0.5
    assert set(changed.facts["factorized"]) == {"words", "places"}
    narrow, widen = module.words  # type: ignore[misc]  # it was an embedding, and is a sequence now
    assert narrow.embedding_dim == widen.in_features == changed.facts["factorized"]["words"]
    assert narrow.padding_idx == 0


@pytest.mark.parametrize("data_aware", [True, False])
def test_words_that_occur_count_more(data_aware: bool) -> None:
    before, module = Reader().eval(), Reader().eval()
    settings = LowRankEmbeddings(keep=0.5, multiple=1, protected=("places",), data_aware=data_aware)
    settings.apply(module, bench_of(Reader().eval(), texts()))
    ids = torch.arange(WORDS)
    with torch.no_grad():
        errors = (module.words(ids) - before.words(ids)).square().sum(dim=1)
    frequent, rare = float(errors[1:FREQUENT].mean()), float(errors[FREQUENT:].mean())
    assert (frequent < 0.2 * rare) == data_aware


def test_without_calibration_data_the_table_is_as_near_as_it_can_be() -> None:
    before, module = Reader().eval(), Reader().eval()
    facts = LowRankEmbeddings(keep=0.5, multiple=1, protected=("places",)).apply(module, bench_of(before, None)).facts
    weight = before.words.weight.detach()
    with torch.no_grad():
        error = (module.words(torch.arange(WORDS)) - weight).square().sum()
    assert float(error) == pytest.approx(
        float(torch.linalg.svdvals(weight)[facts["factorized"]["words"] :].square().sum()), rel=1e-4
    )


def test_tables_that_are_more_than_a_table_stay() -> None:
    module = Reader().eval()
    module.head = nn.Linear(WIDTH, WORDS, bias=False)
    module.head.weight = module.words.weight
    module.places.max_norm = 1.0
    assert find_tables(module, [(torch.ones(1, 8, dtype=torch.long),)]) == []
    with pytest.raises(InputError, match="looked up in one run"):
        LowRankEmbeddings().apply(module, bench_of(copy.deepcopy(module), texts()))


def test_a_budget_below_the_smallest_says_what_that_is() -> None:
    with pytest.raises(InputError, match=r"the smallest is 3968, 59\.6%"):
        LowRankEmbeddings(keep=0.3, multiple=16).apply(Reader().eval(), bench_of(Reader().eval(), texts()))
    with pytest.raises(InputError, match="keep"):
        LowRankEmbeddings(keep=1.5)


def test_code_that_reads_a_table_itself_is_told_to_protect_it() -> None:
    class Curious(Reader):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return super().forward(ids) + self.words.weight[0, 0]

    with pytest.raises(InputError, match="its code reads one otherwise"):
        LowRankEmbeddings(keep=0.5).apply(Curious().eval(), bench_of(Curious().eval(), texts()))


def test_artifacts_have_both_factors(tmp_path: Path) -> None:
    source = replace(bench_of(Reader().eval(), None).source, calibration_data=lambda: iter(texts()))
    steps = (LowRankEmbeddings(keep=0.5), StaticQuantization())
    recipe = Recipe("raspberry-pi-4b", formats=("onnxruntime",), steps=steps)
    result = edgecomp.compress(source, "raspberry-pi-4b", tmp_path / "out", recipe=recipe)
    assert not result.verification.violations
    facts = {step["name"]: step["facts"] for step in result.manifest["provenance"]}
    assert facts["low-rank-embeddings"]["parameters"] < 0.6 * facts["original"]["parameters"]
