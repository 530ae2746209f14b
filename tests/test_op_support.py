"""The page of operator support is what its results say, and a part of the results is what happens now."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import page
import pytest
from expressible import exclusion, family
from node_tests import NodeTest, collect_cached, with_constant_operands
from results import Results
from run import run
from trial import Outcome

ROOT = Path(__file__).parents[1]
#: A process of its own keeps what aborts away from the tests; Python 3.12 and later warn of the fork.
pytestmark = [pytest.mark.forking, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]
#: Format -> of how many tests one is run.
SHARES = {"tflite": 12, "onnxruntime": 24, "mnn": 60}
BUGS = {"wrong", "crashed", "hung"}


@pytest.fixture(scope="module")
def tests() -> list[NodeTest]:
    return collect_cached(ROOT / "build" / "op-support")


@pytest.fixture(scope="module")
def results() -> Results:
    return Results.read(ROOT / "docs" / "op_support" / "results.json")


def test_the_page_is_made_of_the_results(tests: list[NodeTest], results: Results) -> None:
    assert (ROOT / "docs" / "op-support.md").read_text("utf-8") == page.render(results, tests)


def test_the_results_are_of_all_tests(tests: list[NodeTest], results: Results) -> None:
    assert set(results.columns) == {(name, precision) for name in SHARES for precision in ("fp32", "int8")}
    assert all(set(column) == {test.name for test in tests} for column in results.columns.values())


@pytest.mark.parametrize("format_name", SHARES)
def test_a_part_of_the_results_is_what_happens(format_name: str, tests: list[NodeTest], results: Results) -> None:
    jobs = [(test, format_name) for test in tests[:: SHARES[format_name]]]
    worse = {}
    for test, _, found in run(jobs, ("fp32", "int8"), processes=2, limit=60):
        for precision, outcome in found.items():
            known = results.columns[format_name, precision][test.name]
            # What was refused may pass by now.
            if outcome.status != known.status and (known.status == "passed" or outcome.status in BUGS):
                worse[test.name, precision] = (known, outcome)
    assert not worse


def test_results_are_read_as_they_are_written(tmp_path: Path) -> None:
    results = Results({"onnx": "1"})
    results.columns["tflite", "fp32"] = {"a": Outcome("passed", constants=True), "b": Outcome("refused", "why")}
    results.write(tmp_path / "r.json")
    assert Results.read(tmp_path / "r.json") == results


def test_operands_become_constants(tests: list[NodeTest]) -> None:
    test = next(test for test in tests if test.name == "top_k")
    assert test.operands == ("k",)
    frozen = with_constant_operands(test)
    assert list(frozen.inputs) == ["x"]
    assert [tensor.name for tensor in frozen.model.graph.initializer] == ["k"]
    assert len(test.model.graph.input) == 2


def test_what_is_left_out_has_a_reason(tests: list[NodeTest]) -> None:
    reasons = {test.name: exclusion(test) for test in tests}
    assert reasons["relu"] is None
    assert reasons["nonzero_example"] == "the shape of an output depends on the data, and an artifact has static shapes"
    assert reasons["bernoulli"] == "random numbers: no two runtimes draw the same"
    counted = Counter(family(test) for test in tests if reasons[test.name] is None)
    assert counted["float"] > 1000


def _trial(test: NodeTest, format_name: str, precisions: object):
    """Passes in one precision, then does what the format is called."""
    import os
    import time

    yield "fp32", Outcome("passed")
    if format_name == "abort":
        os._exit(7)
    if format_name == "hang":
        time.sleep(60)
    yield "int8", Outcome("passed")


def test_crashes_and_hangs_are_outcomes(tests: list[NodeTest], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("run._import_runtimes", lambda formats: None)
    jobs = [(tests[index], name) for index, name in enumerate(("fine", "abort", "fine", "hang", "fine"))]
    ended = run(jobs, ("fp32", "int8"), processes=1, limit=2, trial=_trial)
    found = {test.name: (name, outcomes["fp32"].status, outcomes["int8"]) for test, name, outcomes in ended}
    assert found == {
        tests[0].name: ("fine", "passed", Outcome("passed")),
        tests[1].name: ("abort", "passed", Outcome("crashed", "exit code 7")),
        tests[2].name: ("fine", "passed", Outcome("passed")),
        tests[3].name: ("hang", "passed", Outcome("hung", "no answer in time")),
        tests[4].name: ("fine", "passed", Outcome("passed")),
    }
