"""Embedding tables as narrow ones with a linear layer behind (ALBERT: Lan et al., 2020), by singular values.

Of a vocabulary, few words make up most of a text. A row's squared error therefore counts as often as calibration data
look the row up, and half a time more (Krichevsky and Trofimov, 1981), so that words they do not have count a little.
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

#: Halvings of the interval of shares of energy.
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
        """What a row's error is multiplied by, (rows, 1)."""
        return (self.counts + _UNSEEN).sqrt()[:, None] if self.counts.any() else torch.ones_like(self.counts)[:, None]

    @cached_property
    def spectrum(self) -> Floats:
        """Singular values of the table as its rows count."""
        values: Floats = torch.linalg.svdvals(self.importance * self._matrix).numpy()
        return values

    @property
    def size(self) -> int:
        """Numbers in it."""
        return self.layer.weight.numel()

    def size_at(self, rank: int) -> int:
        """Numbers in its two factors; its own when that is not more."""
        return min(self.size, rank * sum(self.layer.weight.shape))

    def factors(self, rank: int) -> nn.Sequential:
        """A narrow table and the layer that widens its rows."""
        layer, (rows, width) = self.layer, self.layer.weight.shape
        narrow, widen = decompositions.svd(self.importance * self._matrix, rank)
        # As the embedding was: its padding row is not trained.
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
        module: What is factorized.
        bench: The example inputs, the target, and calibration data when rows are to count as often as they occur.
        settings: See `LowRankEmbeddings`.

    Returns:
        The module, and as facts the rank of every table that was factorized, and what of all tables is left.

    Raises:
        InputError: There is no table, the budget cannot be met, a protected one does not exist, or the module's code
            reads one that was factorized.
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
    """The embeddings that runs look something up in, and how often what.

    Args:
        module: Left as it is.
        batches: What it takes.
    """
    owners: dict[int, int] = {}
    for part in module.modules():
        for weight in part._parameters.values():
            owners[id(weight)] = owners.get(id(weight), 0) + 1
    tables = [
        Table(path, layer, torch.zeros(len(layer.weight), dtype=torch.float64))
        for path, layer in module.named_modules()
        # A table that an output layer shares, or whose rows are kept short, is not a product alone.
        if path and type(layer) is nn.Embedding and layer.max_norm is None and owners.get(id(layer.weight)) == 1
        if not parametrize.is_parametrized(layer)
    ]
    show(module, batches, [table.layer.register_forward_pre_hook(_counter(table)) for table in tables])
    return [table for table in tables if table.counts.any()]


def _ranks(tables: Sequence[Table], keep: float, multiple: int, subject: str) -> Mapping[Table, int]:
    """Ranks that leave the same share of every table's energy, as much as the budget allows.

    Raises:
        InputError: The smallest ranks are too large.
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
        InputError: It reads what is no longer there.
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
