"""Every format computes what the graph says: in float as the graph does, in int8 as the simulation predicts."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from all_cases import CASES, ISLANDS, cases_of, gap
from case import Case, Precision
from net import Net, merged
from running import Reference, refer, run_artifact, run_graph

from edgecomp.arrays import Array
from edgecomp.converter import Conversion, ConversionOptions, FloatIsland, available_formats, load_converter
from edgecomp.errors import EdgecompError
from edgecomp.forecast import forecast_format
from edgecomp.model import CompressedModel
from edgecomp.quantization.qdq import to_qdq
from edgecomp.quantization.scheme import PRECISION_KEY, fused_activation


@dataclass(frozen=True)
class _Precision:
    """How far an artifact may be off.

    Attributes:
        floats: Largest difference of a float artifact, relative to the largest output.
        steps: Quantization steps of an int8 artifact, at least; a case may allow more.
        floats_between_islands: Whether an island reads the real numbers that an island in front of it, or a float
            input, gives, and gives real numbers out.
    """

    floats: float = 1e-5  # kernels sum in other orders
    steps: float = 1.0
    floats_between_islands: bool = False


#: Where a format differs: MNN's Winograd transforms lose digits (4x4 kernels the most), and its integer kernels round
#: ties away from 0, and the scales of a resize to 8 bits.
_PRECISION = {"mnn": _Precision(3e-4, 2.0, floats_between_islands=True)}

#: Formats whose converter starts processes: cases become this many graphs, as a process for each would take minutes.
_GRAPHS = {"mnn": 6, "ort": 1}


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


def _with_floats(model: CompressedModel, islands: Sequence[FloatIsland]) -> CompressedModel:
    """The model with the islands as the float nodes that they are."""
    graph, names = model.graph.clone(), {island.node for island in islands}
    for node in graph.graph:
        if node.name in names:
            node.metadata_props[PRECISION_KEY] = "float32"
            activation = fused_activation(node)
            if activation is not None:
                activation.metadata_props[PRECISION_KEY] = "float32"
    return replace(model, graph=graph)


def _sizes(arrays: Sequence[Array]) -> list[float]:
    return [float(np.abs(array).max(initial=0)) or 1.0 for array in arrays]


def _params(formats: Sequence[str]) -> list[Any]:
    """Every case in every format."""
    return [pytest.param(name, case, id=f"{name}-{case}") for name in formats for case in cases_of(name)]


_FAST = [name for name in available_formats() if name not in _GRAPHS]


@pytest.mark.parametrize(("format_name", "case"), _params(_FAST))
@pytest.mark.parametrize("precision", ["float", "int8"])
def test_an_artifact_computes_what_the_graph_says(
    format_name: str, case: str, precision: Precision, tmp_path: Path
) -> None:
    reference, allowed = _reference(case), _PRECISION.get(format_name, _Precision())
    model = reference.float_model if precision == "float" else reference.int8_model
    known = gap(format_name, case, precision)
    if known is not None:
        with pytest.raises(EdgecompError, match=known.reason):
            _convert_and_run(format_name, model, tmp_path, reference.inputs)
        refused = [node for node in forecast_format(format_name, model, ConversionOptions()).nodes if node.cure]
        assert any(re.search(known.reason, node.reason) for node in refused)
        return
    result = _convert_and_run(format_name, model, tmp_path, reference.inputs)
    if precision == "float":
        assert _largest_difference(result.outputs, reference.expected, _sizes(reference.expected)) <= allowed.floats
        assert not result.conversion.islands
    else:
        steps = max(CASES[case].steps, allowed.steps) + 1e-3
        assert _largest_difference(result.outputs, reference.simulated, reference.steps) <= steps
        if format_name in ISLANDS:
            islands = tuple(sorted({island.op_type for island in result.conversion.islands}))
            assert islands == ISLANDS[format_name].get(case, ())
    if format_name == "tflite":
        operators = load_converter("tflite").inspect(result.conversion.path).operators
        assert not {entry.op_type for entry in operators}.intersection(CASES[case].tflite_without)
    outlook = forecast_format(format_name, model, ConversionOptions())
    assert outlook.converts
    foretold = {node.node for node in outlook.nodes if node.verdict == "island"}
    assert foretold == {island.node for island in result.conversion.islands}


@dataclass(frozen=True)
class _Merged:
    """Several cases of a format in one graph, what its artifact computes, and where the outputs of each case are."""

    reference: Reference
    result: _Result
    outputs: dict[str, slice]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merged")


@functools.cache
def _merged(format_name: str, precision: Precision, part: int, folder: Path) -> _Merged:
    cases = [name for name in cases_of(format_name) if gap(format_name, name, precision) is None]
    nets = {name: _net(CASES[name], f"{name}/") for name in cases if _part(format_name, name) == part}
    places, position = {}, 0
    for name, net in nets.items():
        places[name] = slice(position, position + len(net.outputs))
        position += len(net.outputs)
    reference = refer(merged(list(nets.values())), [feed for net in nets.values() for feed in net.feeds])
    model = reference.float_model if precision == "float" else reference.int8_model
    return _Merged(reference, _convert_and_run(format_name, model, folder, reference.inputs), places)


def _part(format_name: str, case: str) -> int:
    cases = cases_of(format_name)
    return cases.index(case) * _GRAPHS[format_name] // len(cases)


@functools.cache
def _simulated_with_floats(format_name: str, part: int, folder: Path) -> list[Array]:
    whole = _merged(format_name, "int8", part, folder)
    model = _with_floats(whole.reference.int8_model, whole.result.conversion.islands)
    return run_graph(to_qdq(model), whole.reference.inputs)


@pytest.mark.parametrize(("format_name", "case"), _params([name for name in available_formats() if name in _GRAPHS]))
@pytest.mark.parametrize("precision", ["float", "int8"])
def test_an_artifact_of_many_cases_computes_what_the_graph_says(
    format_name: str, case: str, precision: Precision, folder: Path
) -> None:
    known = gap(format_name, case, precision)
    if known is not None:
        reference = _reference(case)
        model = reference.float_model if precision == "float" else reference.int8_model
        problems = load_converter(format_name).check(model, ConversionOptions())
        assert any(re.search(known.reason, problem.reason) for problem in problems)
        return
    allowed, part = _PRECISION.get(format_name, _Precision()), _part(format_name, case)
    whole = _merged(format_name, precision, part, folder)
    reference, place = whole.reference, whole.outputs[case]
    outputs, islands = whole.result.outputs[place], whole.result.conversion.islands
    if precision == "float":
        expected = reference.expected[place]
        assert _largest_difference(outputs, expected, _sizes(expected)) <= allowed.floats
        assert not islands
        return
    units, simulated = reference.steps[place], reference.simulated[place]
    differences = [_largest_difference([a], [b], [c]) for a, b, c in zip(outputs, simulated, units, strict=True)]
    if allowed.floats_between_islands and islands:
        others = _simulated_with_floats(format_name, part, folder)[place]
        differences = [
            min(difference, _largest_difference([a], [b], [c]))
            for difference, a, b, c in zip(differences, outputs, others, units, strict=True)
        ]
    assert max(differences) <= max(CASES[case].steps, allowed.steps) + 1e-3
    if format_name in ISLANDS:
        found = {island.op_type for island in islands if island.node.startswith(f"{case}/")}
        assert tuple(sorted(found)) == ISLANDS[format_name].get(case, ())
