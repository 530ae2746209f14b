"""Every format computes what the graph says: in float as the graph does, in int8 as the simulation predicts."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_gaps import ISLANDS, PENDING, Precision, gap
from net import Array, Net, merged
from operator_cases import Case
from running import Reference, refer, run_artifact
from structure_cases import CASES

from edgecomp.converter import Conversion, ConversionOptions, available_formats, load_converter
from edgecomp.errors import EdgecompError
from edgecomp.model import CompressedModel

#: Largest difference of a float artifact, relative to the largest output. Kernels sum in other orders.
_FLOAT_TOLERANCE = 1e-5

#: Formats whose converter starts processes: all cases become one graph, since a process for each would take minutes.
_SLOW = frozenset({"mnn", "ort"})


def _net(case: Case, prefix: str = "") -> Net:
    net = Net(prefix=prefix, opset=case.opset)
    case.build(net)
    return net


@functools.cache
def _reference(name: str) -> Reference:
    net = _net(CASES[name])
    return refer(net.model(), net.feeds)


@dataclass(frozen=True)
class _Result:
    outputs: list[Array]
    conversion: Conversion


def _convert_and_run(format_name: str, model: CompressedModel, path: Path, inputs: Sequence[Array]) -> _Result:
    converter = load_converter(format_name)
    path = path / f"model{converter.suffixes[0]}"
    conversion = converter.convert(model, path, ConversionOptions())
    assert conversion.path == path
    return _Result(run_artifact(converter.open(path), inputs), conversion)


def _largest_difference(outputs: Sequence[Array], expected: Sequence[Array], units: Sequence[float]) -> float:
    assert [(a.shape, a.dtype) for a in outputs] == [(a.shape, a.dtype) for a in expected]
    differences = [
        float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0)) / unit
        for a, b, unit in zip(outputs, expected, units, strict=True)
    ]
    return max(differences)


def _sizes(arrays: Sequence[Array]) -> list[float]:
    return [float(np.abs(array).max(initial=0)) or 1.0 for array in arrays]


def _params(formats: Sequence[str]) -> list[Any]:
    """Every case in every format; one skipped entry for a format that is pending."""
    ready = [name for name in formats if name not in PENDING]
    skipped = [
        pytest.param(name, "", id=name, marks=pytest.mark.skip(PENDING[name])) for name in formats if name in PENDING
    ]
    return [*(pytest.param(name, case, id=f"{name}-{case}") for name in ready for case in CASES), *skipped]


_FAST = [name for name in available_formats() if name not in _SLOW]


@pytest.mark.parametrize(("format_name", "case"), _params(_FAST))
@pytest.mark.parametrize("precision", ["float", "int8"])
def test_an_artifact_computes_what_the_graph_says(
    format_name: str, case: str, precision: Precision, tmp_path: Path
) -> None:
    reference = _reference(case)
    model = reference.float_model if precision == "float" else reference.int8_model
    known = gap(format_name, case, precision)
    if known is not None:
        with pytest.raises(EdgecompError, match=known.reason):
            _convert_and_run(format_name, model, tmp_path, reference.inputs)
        assert load_converter(format_name).check(model, ConversionOptions())
        return
    result = _convert_and_run(format_name, model, tmp_path, reference.inputs)
    if precision == "float":
        assert _largest_difference(result.outputs, reference.expected, _sizes(reference.expected)) <= _FLOAT_TOLERANCE
        assert not result.conversion.islands
    else:
        assert _largest_difference(result.outputs, reference.simulated, reference.steps) <= CASES[case].steps + 1e-3
        if format_name in ISLANDS:
            islands = tuple(sorted({island.op_type for island in result.conversion.islands}))
            assert islands == ISLANDS[format_name].get(case, ())
    if format_name == "tflite":
        operators = load_converter("tflite").inspect(result.conversion.path).operators
        assert not {entry.op_type for entry in operators}.intersection(CASES[case].tflite_without)
    assert not load_converter(format_name).check(model, ConversionOptions())


@dataclass(frozen=True)
class _Merged:
    """All cases of a format in one graph, and where the inputs and outputs of each are."""

    reference: Reference
    outputs: dict[str, slice]


@functools.cache
def _merged(format_name: str, precision: Precision) -> _Merged:
    nets = {name: _net(case, f"{name}/") for name, case in CASES.items() if gap(format_name, name, precision) is None}
    places, position = {}, 0
    for name, net in nets.items():
        places[name] = slice(position, position + len(net.outputs))
        position += len(net.outputs)
    feeds = [feed for net in nets.values() for feed in net.feeds]
    return _Merged(refer(merged(list(nets.values())), feeds), places)


_MERGED_RESULTS: dict[tuple[str, Precision], _Result] = {}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merged")


@pytest.mark.parametrize(("format_name", "case"), _params([name for name in available_formats() if name in _SLOW]))
@pytest.mark.parametrize("precision", ["float", "int8"])
def test_an_artifact_of_all_cases_computes_what_the_graph_says(
    format_name: str, case: str, precision: Precision, folder: Path
) -> None:
    known = gap(format_name, case, precision)
    if known is not None:
        reference = _reference(case)
        model = reference.float_model if precision == "float" else reference.int8_model
        problems = load_converter(format_name).check(model, ConversionOptions())
        assert any(known.reason in problem.reason for problem in problems)
        return
    whole = _merged(format_name, precision)
    reference = whole.reference
    key = format_name, precision
    if key not in _MERGED_RESULTS:
        model = reference.float_model if precision == "float" else reference.int8_model
        _MERGED_RESULTS[key] = _convert_and_run(format_name, model, folder, reference.inputs)
    place = whole.outputs[case]
    outputs = _MERGED_RESULTS[key].outputs[place]
    if precision == "float":
        expected = reference.expected[place]
        assert _largest_difference(outputs, expected, _sizes(expected)) <= _FLOAT_TOLERANCE
    else:
        steps = reference.steps[place]
        assert _largest_difference(outputs, reference.simulated[place], steps) <= CASES[case].steps + 1e-3
