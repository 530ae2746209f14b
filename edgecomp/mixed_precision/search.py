"""Finds the layers to keep in float: as few multiplications in float as a promise allows.

The error that each layer causes at the outputs is measured once (`edgecomp.diagnosis`). As these errors add up nearly,
the island that takes away most error for its price comes first, then the next. That gives a chain of growing islands,
of which the shortest that keeps the promise is found by doubling and halving; every point that is tried is quantized
and simulated again. At last the dearest layers are left out one by one, to see whether they are needed.

A budget cuts the chain: the longest part of it that the target can afford is found by halving. With a budget alone, and
no promise, that part and some shorter ones are tried, and the most exact of them is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import onnx_ir as ir

from edgecomp.arrays import Arrays
from edgecomp.diagnosis.measure import Measured, measure
from edgecomp.graph.query import is_float
from edgecomp.mixed_precision.budget import Budget, Cost, Meter
from edgecomp.mixed_precision.islands import Island, around, joined, keep_in_float
from edgecomp.mixed_precision.promise import Judge, Quality
from edgecomp.model import CompressedModel
from edgecomp.progress import Progress, silent
from edgecomp.quantization.float_share import node_macs
from edgecomp.quantization.scheme import PRECISION_KEY
from edgecomp.quantization.simulation import Simulation

#: The batches that sensitivity is measured on.
_BATCHES = 16
#: What a conversion between float and integers costs, as a share of all multiplications: it only moves memory.
_BORDER = 0.002
#: Error below this share of all is not worth an island.
_WORTH = 1e-4

Round = Callable[[CompressedModel], CompressedModel]


@dataclass(frozen=True)
class Point:
    """One choice, and what it keeps.

    Attributes:
        layers: The layers in float.
        float_macs: The share of the multiplications that are computed in float.
        quality: As simulated.
        holds: Whether that keeps the promise, within the budget.
        cost: The cost of its artifacts; None when there is no budget.
        island: What the layers compute in.
    """

    layers: tuple[str, ...]
    float_macs: float
    quality: Quality
    holds: bool
    cost: Cost | None = None
    island: Island = "float32"

    def __str__(self) -> str:
        cost = "" if self.cost is None else f"; {self.cost}"
        kept = "float" if self.island == "float32" else self.island
        share = f"{self.float_macs:.1%} of the multiplications"
        layers = "1 layer" if len(self.layers) == 1 else f"{len(self.layers)} layers"
        return f"{layers} in {kept} ({share}): {self.quality}{cost}"


@dataclass
class Search:
    """A search over one model.

    Attributes:
        model: In float.
        round: Rounds it; nodes that are marked stay in float.
        judge: Compares with the original.
        batches: Typical inputs; the first `_BATCHES` of them are read.
        max_float: The largest share of the multiplications that may be in float.
        progress: Called as the work goes on.
        budget: What artifacts may cost.
        meter: Tells what they cost; None when there is no budget.
        island: What islands compute in.
    """

    model: CompressedModel
    round: Round
    judge: Judge
    batches: Iterable[Arrays]
    max_float: float = 1.0
    progress: Progress = silent
    budget: Budget = field(default_factory=Budget)
    meter: Meter | None = None
    island: Island = "float32"
    _tried: dict[frozenset[str], Point] = field(default_factory=dict)

    def run(self) -> Point | None:
        """The point with the fewest multiplications in float that keeps the promise, or with a budget and no promise
        the most exact one; None when there is none.
        """
        plain = self._try(())
        if plain.holds and self.judge.has_promise:
            return plain
        if not self._affords(plain):
            return None
        chain = list(self._chain())
        longest = self._affordable(chain)
        if not self.judge.has_promise:
            return self._most_exact(chain[:longest])
        length = 1
        while length < longest and not self._try(chain[:length]).holds:
            length *= 2
        length = min(length, longest)
        if not length or not (best := self._try(chain[:length])).holds:
            return None
        low, high = length // 2, length  # the shorter fails, the longer holds
        while high - low > 1:
            middle = (low + high) // 2
            point = self._try(chain[:middle])
            low, high, best = (low, middle, point) if point.holds else (middle, high, best)
        return self._without_needless(best)

    def _affordable(self, chain: Sequence[str]) -> int:
        """How much of the chain the budget and `max_float` allow."""
        low, high = 0, len(chain) + 1  # the first is affordable, the last is not known to be
        while high - low > 1:
            middle = (low + high) // 2
            allowed = self.float_macs(chain[:middle]) <= self.max_float and self._is_affordable(chain[:middle])
            low, high = (middle, high) if allowed else (low, middle)
        return low

    def _is_affordable(self, layers: Sequence[str]) -> bool:
        return self.meter is None or self.budget.allows(self.meter.cost(self.round(self._marked(layers)[0])))

    def _affords(self, point: Point) -> bool:
        return point.cost is None or self.budget.allows(point.cost)

    def _most_exact(self, chain: Sequence[str]) -> Point:
        """Of the chain, its half, a quarter ... and nothing."""
        length = len(chain)
        while length:
            self._try(chain[:length])
            length //= 2
        return self.closest

    def float_macs(self, layers: Sequence[str]) -> float:
        """The share of the multiplications that some layers bring into float."""
        graph = self.model.graph.clone().graph
        kept = set(keep_in_float(graph, layers))
        total = sum(node_macs(node) for node in graph)
        return sum(node_macs(node) for node in graph if node.name in kept) / total if total else 0.0

    def _try(self, layers: Sequence[str]) -> Point:
        """Quantizes and simulates a choice; one that leaves the same nodes in float as another is that one."""
        marked, island = self._marked(layers)
        if island not in self._tried:
            self.progress("search", len(self._tried), len(self._tried) + 1)
            rounded = self.round(marked)
            quality = self.judge.judge(Simulation(rounded).run)
            cost = None if self.meter is None else self.meter.cost(rounded)
            holds = self.judge.holds(quality) and (cost is None or self.budget.allows(cost))
            self._tried[island] = Point(tuple(layers), self.float_macs(layers), quality, holds, cost, self.island)
        return replace(self._tried[island], layers=tuple(layers))

    def _marked(self, layers: Sequence[str]) -> tuple[CompressedModel, frozenset[str]]:
        """The model with some layers in float, and the nodes that are."""
        marked = self.model.graph.clone()
        island = frozenset(keep_in_float(marked.graph, layers, self.island))
        return CompressedModel(marked, dynamic=self.model.dynamic), island

    @property
    def frontier(self) -> list[Point]:
        """Every point that was tried."""
        return list(self._tried.values())

    @property
    def closest(self) -> Point:
        """The point that keeps most, of those that were tried and are within the budget if any is."""
        within = [each for each in self.frontier if self._affords(each)] or self.frontier
        return max(within, key=lambda each: (each.quality.agreement or 0.0, each.quality.sqnr, -each.float_macs))

    def _chain(self) -> Iterator[str]:
        """The layers in the order in which they are worth their price."""
        rounded = self.round(self.model)
        batches = tuple(islice(self.batches, _BATCHES))
        measured = [
            each for each in measure(rounded, self.model, batches, progress=self.progress).layers if each.share > _WORTH
        ]
        return _by_worth(self.model.graph.graph, measured)

    def _without_needless(self, point: Point) -> Point:
        """Leaves out what the promise does not need, the dearest first."""
        for layer in sorted(point.layers, key=lambda layer: -self.float_macs((layer,)))[: _BATCHES // 2]:
            rest = tuple(each for each in point.layers if each != layer)
            tried = self._try(rest)
            point = tried if tried.holds and tried.float_macs <= point.float_macs else point
        return point


def _by_worth(graph: ir.Graph, measured: Sequence[Measured]) -> Iterator[str]:
    """Greedily: the error that an island takes away over what it costs, given the islands before it."""
    values = {value.name: value for value in graph.inputs}
    values |= {value.name: value for node in graph for value in node.outputs}
    regions = {each.layer.name: around(values[each.layer.tensor]) for each in measured if each.layer.tensor in values}
    errors = {each.layer.name: each.alone.ratio for each in measured}
    total = sum(node_macs(node) for node in graph) or 1
    island = {node for node in graph if node.metadata_props.get(PRECISION_KEY) == "float32"}
    left = dict(regions)
    while left:
        best, worth = "", -math.inf
        for name, region in left.items():
            grown = joined(graph, island | region)
            gained = sum(errors[other] for other, inside in left.items() if inside <= grown)
            price = sum(node_macs(node) for node in grown - island) / total
            price += _BORDER * (_borders(grown) - _borders(island))
            value = gained / max(price, _BORDER / 10)
            best, worth = (name, value) if value > worth else (best, worth)
        island = joined(graph, island | left.pop(best))
        yield best
        left = {name: region for name, region in left.items() if not region <= island}


def _borders(island: set[ir.Node]) -> int:
    """The tensors that pass between an island and the integers."""
    inward = {
        value
        for node in island
        for value in node.inputs
        if value is not None and is_float(value) and value.const_value is None and value.producer() not in island
    }
    outward = {
        value for node in island for value in node.outputs if any(use.node not in island for use in value.uses())
    }
    return len(inward) + len(outward)
