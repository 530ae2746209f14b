"""The recipe step that keeps layers in float."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, ClassVar, get_args

from edgecomp.converter import load_converter
from edgecomp.errors import BudgetError, InputError
from edgecomp.graph.places import place_outputs
from edgecomp.mixed_precision.budget import SIZES, TIMES, Budget, Meter, is_quantity
from edgecomp.mixed_precision.islands import Island, keep_in_float
from edgecomp.mixed_precision.promise import Judge, Promise, is_drop
from edgecomp.model import CompressedModel, Step
from edgecomp.quantization.simulation import Simulation
from edgecomp.step import Stage, check_setting
from edgecomp.verification.samples import Unlabelled

if TYPE_CHECKING:
    from edgecomp.mixed_precision.search import Point, Search
    from edgecomp.step import GraphStep
    from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class MixedPrecision:
    """Settings of mixed precision: some layers in float32, the rest in the chosen precision.

    All runtimes execute float32 in the middle of integers; most of them only store float16 (see `edgecomp.precision`).
    LiteRT executes int16x8, but slower than float on processors with float units. ONNX Runtime computes it in float,
    and MNN has no int16 activations.

    Attributes:
        layers: The layers whose values are not rounded: names of nodes, inputs or torch modules. Their readers are
            included (see `islands`). If empty, the layers are searched for, and the recipe that is written names them.
        min_agreement: The smallest share of samples with the original's argmax; 0 requires none.
        min_sqnr: The smallest signal-to-noise ratio of the outputs in dB; 0 requires none.
        max_drop: The largest loss of the task's metric: "0.5%" of the original's, or a number; "" sets no limit.
        max_size: The largest size of each artifact, such as "5 MB"; "" sets no limit.
        max_latency: The longest inference, estimated for the target, such as "12 ms"; "" sets no limit. With a budget
            and no promise, the most accurate choice within the budget is taken.
        island: The precision of these layers: "float32", or "int16x8" for processors without float units.
        max_float: The largest share of the multiplications that may be in islands.
        brief: Whether the search of a large network ends after a few choices, and a note says so.
        strict: Whether it is an error if no choice keeps the promise; otherwise the best one that was tried is taken.
    """

    kind: ClassVar[str] = "mixed-precision"
    stage: ClassVar[Stage] = "graph"
    layers: tuple[str, ...] = ()
    min_agreement: float = 0.0
    min_sqnr: float = 0.0
    max_drop: str = ""
    max_size: str = ""
    max_latency: str = ""
    island: Island = "float32"
    max_float: float = 0.5
    brief: bool = False
    strict: bool = True

    def __post_init__(self) -> None:
        check_setting(0 <= self.min_agreement <= 1, self, "min_agreement", "a share from 0 to 1, such as 0.99")
        check_setting(self.min_sqnr >= 0, self, "min_sqnr", "decibels, 0 or more")
        check_setting(not self.max_drop or is_drop(self.max_drop), self, "max_drop", 'a share as "0.5%", or a number')
        for name, units, example in (("max_size", SIZES, "5 MB"), ("max_latency", TIMES, "12 ms")):
            text = getattr(self, name)
            words = f"a number above 0 with one of {', '.join(units)}, such as {example}"
            check_setting(not text or is_quantity(text, units), self, name, words)
        check_setting(self.island in get_args(Island), self, "island", f"one of {', '.join(get_args(Island))}")
        check_setting(0 < self.max_float <= 1, self, "max_float", "a share above 0 and at most 1")

    @property
    def promise(self) -> Promise:
        """The required accuracy."""
        return Promise(self.min_agreement, self.min_sqnr, self.max_drop)

    @property
    def budget(self) -> Budget:
        """The upper limits on cost."""
        return Budget.parse(self.max_size, self.max_latency)

    def apply(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        """Marks the nodes that stay in float, or get int16 activations.

        Raises:
            BudgetError: No choice of layers keeps the promise within the budget, and `strict` is set.
            InputError: The promise cannot be judged without a metric or classes, the budget cannot be judged because
                the target's cores are not documented, or a format has no such islands.
        """
        self._check_formats(bench)
        facts: dict[str, object] = {}
        layers = self.layers
        if not layers and (self.promise != Promise() or self.budget.limits):
            point, search = self._search(model, bench)
            layers, frontier = point.layers, search.frontier
            facts = {
                "samples": search.judge.samples,
                "chosen": str(point),
                "frontier": [_facts(each) for each in frontier],
            }
            facts |= {"cut_short": True} if search.cut_short else {}
            facts |= {"budget": str(self.budget)} if self.budget.limits else {}
        graph = model.graph.clone()
        facts["kept_in_float"] = keep_in_float(graph.graph, layers, self.island)
        return model.after(Step(self.kind, asdict(replace(self, layers=layers)), facts), graph=graph)

    def _check_formats(self, bench: Workbench) -> None:
        if self.island == "float32":
            return
        refusing = [name for name in bench.formats if load_converter(name).precisions["int16x8"].execution == "refused"]
        if refusing:
            raise InputError(
                f"{self.kind}: island = {self.island!r}",
                expected="formats that have int16 activations",
                actual=", ".join(refusing),
                cure=f"add --formats {','.join(name for name in bench.formats if name not in refusing) or 'tflite'}",
            )

    def _search(self, model: CompressedModel, bench: Workbench) -> tuple[Point, Search]:
        from edgecomp.mixed_precision.search import Search

        budget, meter = self.budget, Meter(bench)
        meter.check(budget)
        rounding = _settled(next(step for step in bench.following if step.stage == "precision"), model, bench)
        batches = bench.calibration_data
        graph = model.graph.graph
        with Judge(
            self.promise,
            Simulation(CompressedModel(model.graph, dynamic=model.dynamic)).run,
            bench.evaluation or Unlabelled(batches),
            inputs=[value.name or "" for value in graph.inputs],
            outputs=[value.name or "" for value in graph.outputs],
            places=place_outputs(graph),
            metrics=bench.source.metrics,
            subject=bench.source.name,
        ) as judge:
            search = Search(
                model,
                lambda each: rounding.apply(each, bench),
                judge,
                batches,
                self.max_float,
                bench.progress,
                budget,
                meter if budget.limits else None,
                self.island,
                self.brief,
            )
            point = search.run()
            if point is None and self.strict:
                raise self._unreachable(bench.source.name, search.closest)
            return point or search.closest, search

    def _unreachable(self, source: str, best: Point) -> BudgetError:
        """Returns the error that names the best choice."""
        share = f"{self.promise}, with at most {self.max_float:.0%} of the multiplications in float"
        asked = [] if self.promise == Promise() else [share]
        asked += [f"artifacts within {self.budget}"] if self.budget.limits else []
        affordable = best.cost is None or self.budget.allows(best.cost)
        return BudgetError(
            f"{source}: mixed precision",
            expected=", and ".join(asked),
            actual=f"the best is {best}" if affordable else f"without any layer in float they need {best.cost}",
            cure="ask for less, allow more with max_float in the recipe, or use --precision fp16"
            if affordable
            else "allow more, or make the model smaller first: a recipe with prune-channels or low-rank",
        )


def _settled(rounding: GraphStep, model: CompressedModel, bench: Workbench) -> GraphStep:
    """Fixes a measured estimator to the one that is chosen for the whole model, so that each try is quick."""
    if getattr(rounding, "estimator", "") != "measured":
        return rounding
    chosen = rounding.apply(model, bench).provenance[-1].facts.get("estimator", "mse")
    return replace(rounding, estimator=chosen)  # type: ignore[type-var]  # a step is a dataclass


def _facts(point: Point) -> dict[str, object]:
    facts = {"layers": len(point.layers), "float_macs": point.float_macs, **asdict(point.quality), "holds": point.holds}
    return facts if point.cost is None else {**facts, **asdict(point.cost)}
