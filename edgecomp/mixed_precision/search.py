"""Finds the layers to keep in float: as few multiplications in float as a promise allows.

The error that each layer causes at the outputs is measured once (`edgecomp.diagnosis`). These errors nearly add up, so
islands are ordered greedily by the error that they remove relative to their price. The result is a chain of growing
islands. The shortest part of the chain that keeps the promise is found by doubling and bisection; each candidate is
quantized and simulated again. Finally the most expensive layers are left out one by one, to see whether they are
needed. A brief search of a large network ends when it has tried a few choices.

A budget cuts the chain: bisection finds its longest affordable part. With a budget and no promise, this part and some
shorter ones are tried, and the most accurate one is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import onnx_ir as ir

from edgecomp.arrays import Arrays
from edgecomp.diagnosis.layers import layers_of
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
#: Multiplications that measuring may take, each layer on each batch: about a minute of one core. Fewer batches tell the
#: layers of a large network apart, too, and counting them instead of seconds gives the same choice on every machine.
_WORK = 1e12
#: The choices that a brief search tries at least.
_FEWEST = 4
#: The cost of a conversion between float and integers, as a share of all multiplications: it only moves memory.
_BORDER = 0.002
#: An error below this share of the total is not worth an island.
_WORTH = 1e-4

Round = Callable[[CompressedModel], CompressedModel]


@dataclass(frozen=True)
class Point:
    """One choice of layers, and its accuracy.

    Attributes:
        layers: The layers in float.
        float_macs: The share of the multiplications that are computed in float.
        quality: The accuracy in simulation.
        holds: Whether that keeps the promise, within the budget.
        cost: The cost of its artifacts; None if there is no budget.
        island: The precision of the layers.
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
        round: Quantizes the model; marked nodes stay in float.
        judge: Compares with the original.
        batches: Typical inputs; the first `_BATCHES` of them are read.
        max_float: The largest share of the multiplications that may be in float.
        progress: Called as the work goes on.
        budget: Upper limits on the cost of artifacts.
        meter: Measures the cost; None if there is no budget.
        island: The precision of islands.
        brief: Whether only so many choices are tried as `_WORK` allows, each on all samples.
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
    brief: bool = False
    #: Whether a brief search ended before it was done.
    cut_short: bool = field(default=False, init=False)
    _tried: dict[frozenset[str], Point] = field(default_factory=dict)

    def run(self) -> Point | None:
        """Returns the point with the fewest multiplications in float that keeps the promise; None if there is none.

        With a budget and no promise, it is the most accurate point.
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
        low, length, factor = 0, 1, self._factor(longest)
        while length < longest and not self._try(chain[:length]).holds:
            low, length = length, length * factor
        length = min(length, longest)
        if not length or not (best := self._try(chain[:length])).holds:
            return None
        high = length  # the shorter one fails, the longer one holds
        while high - low > 1 and self._goes_on():
            middle = (low + high) // 2
            point = self._try(chain[:middle])
            low, high, best = (low, middle, point) if point.holds else (middle, high, best)
        return self._without_needless(best)

    @property
    def _limit(self) -> float:
        """How many choices may be tried."""
        if not self.brief:
            return math.inf
        macs = sum(node_macs(node) for node in self.model.graph.graph)
        return max(_FEWEST, _WORK // max(macs * self.judge.samples, 1))

    def _goes_on(self) -> bool:
        """Whether another choice may be tried."""
        goes_on = len(self._tried) < self._limit
        self.cut_short |= not goes_on
        return goes_on

    def _factor(self, longest: int) -> int:
        """What the length of a chain grows by, so that half the choices that may be tried reach the longest."""
        factor, steps = 2, min(self._limit, 64) // 2
        while factor**steps < longest:
            factor += 1
        return factor

    def _affordable(self, chain: Sequence[str]) -> int:
        """Returns the longest part of the chain that the budget and `max_float` allow."""
        low, high = 0, len(chain) + 1  # nothing is affordable; all of it may not be
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
        """Tries the chain, half of it, a quarter and so on, and returns the most accurate."""
        length = len(chain)
        while length:
            self._try(chain[:length])
            length //= 2
        return self.closest

    def float_macs(self, layers: Sequence[str]) -> float:
        """Returns the share of the multiplications that layers bring into float."""
        graph = self.model.graph.clone().graph
        kept = set(keep_in_float(graph, layers))
        total = sum(node_macs(node) for node in graph)
        return sum(node_macs(node) for node in graph if node.name in kept) / total if total else 0.0

    def _try(self, layers: Sequence[str]) -> Point:
        """Quantizes and simulates a choice, unless another choice with the same nodes in float was tried."""
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
        """Returns the model with layers in float, and the names of its nodes in float."""
        marked = self.model.graph.clone()
        island = frozenset(keep_in_float(marked.graph, layers, self.island))
        return CompressedModel(marked, dynamic=self.model.dynamic), island

    @property
    def frontier(self) -> list[Point]:
        """Every point that was tried."""
        return list(self._tried.values())

    @property
    def closest(self) -> Point:
        """The most accurate point that was tried, within the budget if possible."""
        within = [each for each in self.frontier if self._affords(each)] or self.frontier
        return max(within, key=lambda each: (each.quality.agreement or 0.0, each.quality.sqnr, -each.float_macs))

    def _chain(self) -> Iterator[str]:
        """Yields the layers in the order of error removed for the price."""
        rounded = self.round(self.model)
        batches = tuple(islice(self.batches, _affordable_batches(rounded)))
        measured = [
            each for each in measure(rounded, self.model, batches, progress=self.progress).layers if each.share > _WORTH
        ]
        return _by_worth(self.model.graph.graph, measured)

    def _without_needless(self, point: Point) -> Point:
        """Leaves out layers that the promise does not need, trying the most expensive first."""
        for layer in sorted(point.layers, key=lambda layer: -self.float_macs((layer,)))[: _BATCHES // 2]:
            if not self._goes_on():
                break
            rest = tuple(each for each in point.layers if each != layer)
            tried = self._try(rest)
            point = tried if tried.holds and tried.float_macs <= point.float_macs else point
        return point


def _affordable_batches(model: CompressedModel) -> int:
    """How many batches every layer can be measured on."""
    work = sum(node_macs(node) for node in model.graph.graph) * len(layers_of(model))
    return max(1, min(_BATCHES, int(_WORK // max(work, 1))))


def _by_worth(graph: ir.Graph, measured: Sequence[Measured]) -> Iterator[str]:
    """Orders layers greedily: by the error that an island removes over its price, given the islands before it."""
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
    """Counts the tensors that pass between an island and the integers."""
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
