"""Results -> docs/op-support.md."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from expressible import IN_REAL_MODELS, exclusion, family
from node_tests import NodeTest
from results import Column, Results
from trial import Outcome

_INTRODUCTION = """# Operator support

Made by `make op-support` (`python docs/op_support`); do not edit. Every backend node test of the ONNX project goes
through every converter: the model is read by edgecomp's own frontend, converted, run in the real runtime, and what
comes out is compared with the outputs that ONNX expects. An int8 artifact is calibrated on the test's inputs and
compared with the simulation; ONNX Runtime's has the activations that suit the processor it ran on, unsigned ones on
x86. Ran with {versions}.

- **passed**: the artifact computes what ONNX expects (float: the test's tolerance of 1e-3 relative; int8: within two
  quantization steps of the simulation).
- **constants**: those of the passed that needed their *constant operands* to be constants. The tests give every
  operand as an input of the graph, also shapes, axes, weights and scales that real models have as constants; a test
  that is refused so is tried again with them as constants (`CONSTANT_OPERANDS` in `docs/op_support/node_tests.py`).
- **refused**: an error before anything is written, that says why.
- **disputed**: what ONNX Runtime gives for the original model, where that is not what ONNX expects. edgecomp holds
  artifacts to the original in ONNX Runtime. Counted as failed.
- **rejected**: an artifact that is out of tolerance, and that the verification which every `edgecomp convert` ends with
  finds: it is an error, not an artifact.
- **wrong** numbers that verification lets pass, **crashed** (a signal, or an exception that is none of edgecomp's
  errors), **hung**: bugs.
- **nothing to quantize**: no operator of the test computes in integers; not counted in a rate.
"""

_STATUSES = ("passed", "refused", "disputed", "rejected", "wrong", "crashed", "hung")
_HEADINGS = ("runtime", "precision", "rate", "passed", "constants", *_STATUSES[1:], "nothing to quantize")


def render(results: Results, tests: Sequence[NodeTest]) -> str:
    """The whole page."""
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    parts = [
        _INTRODUCTION.format(versions=versions),
        "## Rates\n",
        *_rates(results, tests),
        "\n## Left out as not expressible\n",
        *_exclusions(tests),
        "\n## By operator\n",
        *_operators(results, tests),
        "\n## Every test that did not pass\n",
        *_failures(results, tests),
    ]
    return "\n".join(parts) + "\n"


def rate(column: Column, tests: Iterable[NodeTest]) -> tuple[int, int]:
    """How many tests passed, and of how many."""
    counted = [outcome for test in tests if (outcome := column.get(test.name)) and outcome.status != "nothing"]
    return sum(outcome.status == "passed" for outcome in counted), len(counted)


def groups() -> dict[str, Callable[[NodeTest], bool]]:
    """What rates are reported of."""
    expressible = _is_expressible
    return {
        "float32 tests that TFLite can express": lambda t: expressible(t) and family(t) == "float",
        "of these, operators of real models": lambda t: (
            expressible(t) and family(t) == "float" and t.op_type in IN_REAL_MODELS
        ),
        "float16 tests that TFLite can express": lambda t: expressible(t) and family(t) == "float16",
        "integer and bool tests that TFLite can express": lambda t: expressible(t) and family(t) == "integer",
        "all tests with float32 inputs or outputs": lambda t: family(t) == "float",
        "all tests": lambda t: True,
    }


def _is_expressible(test: NodeTest) -> bool:
    return exclusion(test) is None


def _rates(results: Results, tests: Sequence[NodeTest]) -> Iterator[str]:
    for title, belongs in groups().items():
        members = [test for test in tests if belongs(test)]
        yield f"### {title[0].upper()}{title[1:]} ({len(members)})\n"
        yield f"| {' | '.join(_HEADINGS)} |"
        yield f"|{'---|' * len(_HEADINGS)}"
        for (format_name, precision), column in results.columns.items():
            outcomes = [column[test.name] for test in members if test.name in column]
            counts = Counter(outcome.status for outcome in outcomes)
            constants = sum(outcome.constants for outcome in outcomes if outcome.status == "passed")
            passed, total = rate(column, members)
            share = f"**{100 * passed / total:.1f} %**" if total else "-"
            numbers = [counts["passed"], constants, *(counts[s] for s in _STATUSES[1:]), counts["nothing"]]
            yield f"| {format_name} | {precision} | {share} | {' | '.join(map(str, numbers))} |"
        yield ""


def _exclusions(tests: Sequence[NodeTest]) -> Iterator[str]:
    found: dict[str, list[NodeTest]] = defaultdict(list)
    for test in tests:
        if (reason := exclusion(test)) is not None:
            found[reason].append(test)
    yield "Rules about the tests, not about edgecomp (`docs/op_support/expressible.py`); the tests run all the same.\n"
    yield "| reason | tests | operators |"
    yield "|---|---|---|"
    for reason, members in sorted(found.items(), key=lambda item: -len(item[1])):
        yield f"| {reason} | {len(members)} | {_listed(test.op_type for test in members)} |"


def _operators(results: Results, tests: Sequence[NodeTest]) -> Iterator[str]:
    columns = list(results.columns)
    yield (
        "Passed / tried; * where some needed constant operands, `i` where int8 has float islands. Tests that TFLite "
        "cannot express are not counted here.\n"
    )
    yield f"| operator | {' | '.join(' '.join(column) for column in columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    by_operator: dict[str, list[NodeTest]] = defaultdict(list)
    for test in tests:
        if _is_expressible(test):
            by_operator[test.op_type].append(test)
    for op_type, members in sorted(by_operator.items()):
        cells = [_cell(results.columns[column], members) for column in columns]
        yield f"| {op_type} | {' | '.join(cells)} |"


def _cell(column: Mapping[str, Outcome], members: Sequence[NodeTest]) -> str:
    passed, total = rate(dict(column), members)
    if not total:
        return "-"
    good = [column[t.name] for t in members if t.name in column and column[t.name].status == "passed"]
    marks = "*" * any(outcome.constants for outcome in good) + " i" * any(outcome.reason for outcome in good)
    return f"{passed}/{total}{marks}"


def _failures(results: Results, tests: Sequence[NodeTest]) -> Iterator[str]:
    by_name = {test.name: test for test in tests if _is_expressible(test)}
    for (format_name, precision), column in results.columns.items():
        yield f"### {format_name} {precision}\n"
        grouped: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for name, outcome in column.items():
            if outcome.status not in {"passed", "nothing"} and name in by_name:
                grouped[by_name[name].op_type, outcome.status, outcome.reason].append(name)
        yield "| operator | result | reason | tests |"
        yield "|---|---|---|---|"
        for (op_type, status, reason), names in sorted(grouped.items()):
            yield f"| {op_type} | {status} | {_escaped(reason)} | {', '.join(sorted(names))} |"
        yield ""


def _listed(op_types: Iterable[str]) -> str:
    return ", ".join(sorted(set(op_types)))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
