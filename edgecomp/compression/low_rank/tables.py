"""Replaces embedding tables by narrow ones with a linear layer behind (ALBERT: Lan et al., 2020), by singular values.

A few words make up most of a text. A row's squared error is therefore weighted by how often calibration data look it
up, plus one half (Krichevsky and Trofimov, 1981), so that words that they do not contain keep a small weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from edgecomp.compression.data import example_inputs, show
from edgecomp.compression.low_rank import decompositions
from edgecomp.compression.low_rank.embeddings import LowRankEmbeddings
from edgecomp.compression.low_rank.ranks import Floats, by_energy
from edgecomp.compression.protection import protector
from edgecomp.compression.replacement import replace_modules
from edgecomp.errors import InputError
from edgecomp.step import Changed
from edgecomp.workbench import Workbench

_UNSEEN = 0.5

#: How often the interval of energy shares is halved.
_HALVINGS = 30


@dataclass(eq=False)
class Table:
    """An embedding in a network.

    Attributes:
        path: The path of the embedding.
        layer: The embedding.
        counts: How often every row was looked up, float64 (rows,).
    """

    path: str
    layer: nn.Embedding
    counts: torch.Tensor

    @cached_property
    def importance(self) -> torch.Tensor:
        """The factor on each row's error, (rows, 1)."""
        return (self.counts + _UNSEEN).sqrt()[:, None] if self.counts.any() else torch.ones_like(self.counts)[:, None]

    @cached_property
    def spectrum(self) -> Floats:
        """The singular values of the weighted table."""
        values: Floats = torch.linalg.svdvals(self.importance * self._matrix).numpy()
        return values

    @property
    def size(self) -> int:
        """The number of elements in the table."""
        return self.layer.weight.numel()

    def size_at(self, rank: int) -> int:
        """Returns the number of elements in the two factors, or in the table itself if that is smaller."""
        return min(self.size, rank * sum(self.layer.weight.shape))

    def factors(self, rank: int) -> nn.Sequential:
        """Builds a narrow table and the layer that widens its rows."""
        layer, (rows, width) = self.layer, self.layer.weight.shape
        narrow, widen = decompositions.svd(self.importance * self._matrix, rank)
        # Keep the embedding's padding row, which is not trained.
        table = nn.Embedding(rows, rank, layer.padding_idx, sparse=layer.sparse)
        linear = nn.Linear(rank, width, bias=False)
        with torch.no_grad():
            table.weight.copy_(narrow / self.importance)
            linear.weight.copy_(widen.T)
        return nn.Sequential(table, linear).to(layer.weight).train(layer.training)

    @property
    def _matrix(self) -> torch.Tensor:
        return self.layer.weight.detach().double().cpu()


def factorize_tables(module: nn.Module, bench: Workbench, settings: LowRankEmbeddings) -> Changed:
    """Factorizes the embedding tables of a module, in place.

    Args:
        module: The module to factorize.
        bench: Provides example inputs, the target, and the calibration data that rows are weighted by.
        settings: See `LowRankEmbeddings`.

    Returns:
        The module, and as facts the rank of every factorized table and the share of all tables' elements that is left.

    Raises:
        InputError: There is no table, the budget cannot be met, a protected table does not exist, or the module's code
            accesses a table other than by calling it.
    """
    subject = f"{bench.source.name}: the step {settings.kind}"
    protected = protector(module, settings.protected, subject)
    inputs = example_inputs(bench)
    batches: Iterable[Sequence[torch.Tensor]] = [inputs]
    aware = settings.data_aware and bench.calibration is not None
    if aware:
        batches = (tuple(map(torch.from_numpy, batch)) for batch in bench.calibration_batches("count"))
    tables = [table for table in find_tables(module, batches) if not protected(table.path)]
    if not tables:
        raise InputError(
            subject,
            expected="an nn.Embedding whose table is its own, and is looked up in one run",
            actual="there is none",
            cure="leave the step out",
        )
    if not aware:
        for table in tables:
            table.counts.zero_()
    multiple = bench.target.cpu.simd_channels if settings.multiple == "target" else settings.multiple
    ranks = _ranks(tables, settings.keep, multiple, subject)
    replace_modules(module, {table.layer: table.factors(rank) for table, rank in ranks.items()})
    _check(module, inputs, subject)
    left = sum(table.size_at(ranks[table]) if table in ranks else table.size for table in tables)
    share = left / sum(table.size for table in tables)
    return Changed(module, {"factorized": {table.path: rank for table, rank in ranks.items()}, "kept": round(share, 4)})


def find_tables(module: nn.Module, batches: Iterable[Sequence[torch.Tensor]]) -> list[Table]:
    """Finds the embeddings that runs look up, and counts how often each row is looked up.

    Args:
        module: Left as it is.
        batches: The module's inputs.
    """
    owners: dict[int, int] = {}
    for part in module.modules():
        for weight in part._parameters.values():
            owners[id(weight)] = owners.get(id(weight), 0) + 1
    tables = [
        Table(path, layer, torch.zeros(len(layer.weight), dtype=torch.float64))
        for path, layer in module.named_modules()
        # Leave out tables that are shared with an output layer, or whose rows are renormalized: two factors cannot
        # replace them.
        if path and type(layer) is nn.Embedding and layer.max_norm is None and owners.get(id(layer.weight)) == 1
        if not parametrize.is_parametrized(layer)
    ]
    show(module, batches, [table.layer.register_forward_pre_hook(_counter(table)) for table in tables])
    return [table for table in tables if table.counts.any()]


def _ranks(tables: Sequence[Table], keep: float, multiple: int, subject: str) -> Mapping[Table, int]:
    """Finds ranks that keep the same share of every table's energy, as large as the budget allows.

    Raises:
        InputError: Even the smallest ranks exceed the budget.
    """
    whole = sum(table.size for table in tables)

    def chosen(share: float) -> dict[Table, int]:
        return {table: -(-by_energy(table.spectrum, share) // multiple) * multiple for table in tables}

    def cost(ranks: Mapping[Table, int]) -> int:
        return sum(table.size_at(rank) for table, rank in ranks.items())

    low, high = 0.0, 1.0
    best = chosen(low)
    smallest = cost(best)
    if smallest > keep * whole:
        raise InputError(
            subject,
            expected=f"at most {keep * whole:.0f} numbers, {keep:.1%} of {whole}",
            actual=f"the smallest is {smallest}, {smallest / whole:.1%}, with {multiple} numbers in a row",
            cure=f"set keep to {smallest / whole + 0.0005:.3f} or more, or a smaller multiple",
        )
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        ranks = chosen(middle)
        if cost(ranks) <= keep * whole:
            low, best = middle, ranks
        else:
            high = middle
    return {table: rank for table, rank in best.items() if table.size_at(rank) < table.size}


def _check(module: nn.Module, inputs: Sequence[torch.Tensor], subject: str) -> None:
    """Runs the module once.

    Raises:
        InputError: Its code reads an attribute that no longer exists.
    """
    try:
        show(module, [inputs], [])
    except AttributeError as error:
        raise InputError(
            subject,
            expected="embeddings that the module only calls",
            actual=f"its code reads one otherwise: {error}",
            cure="name that table in protected",
        ) from error


def _counter(table: Table) -> Any:
    def count(layer: nn.Module, args: tuple[torch.Tensor]) -> None:
        table.counts += torch.bincount(args[0].flatten().cpu(), minlength=len(table.counts))

    return count
