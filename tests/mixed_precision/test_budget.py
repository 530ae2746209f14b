"""A budget of the target: what it leaves in float, what is said when it is too small, and how it is written."""

from dataclasses import replace
from itertools import islice

import pytest
import test_mixed_precision as nets

from edgecomp.diagnosis.advice import remarks
from edgecomp.errors import BudgetError, InputError
from edgecomp.frontends import load_source
from edgecomp.mixed_precision.budget import SIZES, TIMES, Budget, Cost, Meter, parse_quantity
from edgecomp.mixed_precision.step import MixedPrecision
from edgecomp.model import CompressedModel
from edgecomp.options import resolve
from edgecomp.preparation import prepare
from edgecomp.quantization.static import StaticQuantization
from edgecomp.target import Cpu, load_target
from edgecomp.workbench import Workbench

#: Layers large enough for their precision to be what a file's size depends on.
TASK = nets.TASK
for before, after in (
    ("first, relu(), wide, relu(), narrow", "first, relu(), wide, torch.nn.Hardswish(), narrow"),
    ("Conv2d(8, 8, 1)", "Conv2d(64, 64, 1)"),
    ("[1.0] * 7", "[1.0] * 63"),
    ("1, 8, 6, 6", "1, 64, 6, 6"),
    ("1, 8, 1, 1", "1, 64, 1, 1"),
):
    TASK = TASK.replace(before, after)

Prepared = tuple[CompressedModel, Workbench]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    path = tmp_path_factory.mktemp("task") / "task.py"
    path.write_text(TASK)
    source = load_source(path)
    batches = [tuple(tensor.numpy() for tensor in batch) for batch in islice(source.calibration_data(), 8)]
    following, formats = (StaticQuantization(estimator="minmax"),), ("tflite", "onnxruntime")
    bench = Workbench(source, load_target(nets.TARGET), 0, batches, following=following, formats=formats)
    return prepare(source), bench


def facts_of(prepared: Prepared, **settings: object) -> dict[str, object]:
    model, bench = prepared
    return dict(MixedPrecision(**settings).apply(model, bench).provenance[-1].facts)  # type: ignore[arg-type]


def test_a_generous_budget_buys_what_helps_and_no_more(prepared: Prepared) -> None:
    facts = facts_of(prepared, max_size="1 MB", max_latency="1 s")
    kept = set(facts["kept_in_float"])  # type: ignore[call-overload]
    assert {"2/Conv", "4/Conv"} <= kept
    assert not kept & {"0/Conv", "6/Conv"}
    plain, *others = facts["frontier"]  # type: ignore[misc]
    assert max(point["sqnr"] for point in others) > plain["sqnr"] + 20
    assert facts["budget"] == "1.00 MB and 1000 ms"


@pytest.mark.parametrize("limited", ["size", "time"])
def test_a_budget_without_room_leaves_all_in_integers(limited: str, prepared: Prepared) -> None:
    model, bench = prepared
    cost = Meter(bench).cost(bench.following[0].apply(model, bench))
    budget = {"max_size": f"{cost.size + 1000}B"} if limited == "size" else {"max_latency": f"{cost.likely * 1.02}ms"}
    assert facts_of(prepared, **budget)["kept_in_float"] == []


def test_a_promise_within_a_budget(prepared: Prepared) -> None:
    assert facts_of(prepared, min_sqnr=30.0, max_size="1 MB")["kept_in_float"]
    with pytest.raises(BudgetError) as raised:
        facts_of(prepared, min_sqnr=30.0, max_size="33 kB")
    assert raised.value.expected.endswith("and artifacts within 33.0 kB")
    assert raised.value.actual.startswith("the best is 0 layers in float (0.0% of the multiplications): ")
    assert raised.value.cure.startswith("ask for less")


def test_a_budget_that_integers_exceed_says_what_they_need(prepared: Prepared) -> None:
    with pytest.raises(BudgetError) as raised:
        facts_of(prepared, max_size="5 kB")
    assert raised.value.expected == "artifacts within 5.0 kB"
    assert raised.value.actual.startswith("without any layer in float they need 2")
    assert "prune-channels" in raised.value.cure


def test_time_on_a_target_without_documented_cores_cannot_be_promised(prepared: Prepared) -> None:
    model, bench = prepared
    unknown = replace(bench.target, cpu=replace(bench.target.cpu, clusters=()))
    assert isinstance(unknown.cpu, Cpu)
    with pytest.raises(InputError, match="documented cores and clocks") as raised:
        MixedPrecision(max_latency="5ms").apply(model, replace(bench, target=unknown))
    assert "--max-size" in raised.value.cure


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_size": "5"}, "a number above 0 with one of B, kB, MB"),
        ({"max_size": "12 ms"}, "such as 5 MB"),
        ({"max_latency": "0ms"}, "such as 12 ms"),
    ],
)
def test_quantities_that_cannot_be_are_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MixedPrecision(**settings)  # type: ignore[arg-type]


def test_quantities_have_units() -> None:
    assert parse_quantity("5 MB", SIZES) == 5e6
    assert parse_quantity("1.5KiB", SIZES) == 1536
    assert parse_quantity("12ms", TIMES) == 12
    assert Budget.parse("", "").allows(Cost(10**12, None))


def test_what_was_chosen_is_said_with_what_it_costs(prepared: Prepared) -> None:
    model, bench = prepared
    (note, *_) = remarks(MixedPrecision(max_size="1MB").apply(model, bench))
    assert note.startswith("Mixed precision chose ")
    assert " kB, " in note
    assert " ms estimated within 1.00 MB; without, " in note


def test_the_options_ask_for_it() -> None:
    _, recipe = resolve(nets.TARGET, max_size="1MB", max_latency="3ms")
    (step,) = [step for step in recipe.steps if isinstance(step, MixedPrecision)]
    assert str(step.budget) == "1.00 MB and 3 ms"
    assert 'max_size = "1MB"' in recipe.to_toml()
