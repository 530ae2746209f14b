"""One test through one converter: in by the ONNX frontend, converted, run in the real runtime, compared."""

from __future__ import annotations

import platform
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from node_tests import NodeTest, with_constant_operands

from edgecomp.arrays import Array
from edgecomp.converter import ConversionOptions, FloatIsland, load_converter
from edgecomp.errors import EdgecompError
from edgecomp.frontends import load_source
from edgecomp.model import CompressedModel
from edgecomp.preparation import prepare
from edgecomp.quantization.scheme import PRECISION_KEY, fused_activation, runs_in_integers
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import StaticQuantization, quantize_static
from edgecomp.verification.comparison import compare
from edgecomp.verification.tolerance import Tolerance

Status = Literal["passed", "refused", "disputed", "rejected", "wrong", "crashed", "hung", "nothing"]

#: How far a float artifact may be off beside the test's own tolerance, relative to the largest number of the output:
#: kernels sum in other orders, and MNN's Winograd transforms lose digits.
_NOISE = {"mnn": 2e-4}
_DEFAULT_NOISE = 1e-5
_FOLDER = "edgecomp-op-support-"
#: How many quantization steps an int8 artifact may lie from the simulation.
_STEPS = 2.0


@dataclass(frozen=True)
class Outcome:
    """What became of a test.

    Attributes:
        status: "refused" is an error that says why; "disputed" is an artifact that gives what ONNX Runtime gives for
            the original, where that is not what ONNX expects; "rejected" is one that edgecomp's own verification, which
            every conversion ends with, does not let pass; "nothing" is a test that has nothing to quantize.
        reason: Why it did not pass; for an int8 artifact that passed with float islands, their operators.
        constants: Whether it took making constant operands constants.
    """

    status: Status
    reason: str = ""
    constants: bool = False


#: As a target of this machine's processor has them. Of two signed operands that are both computed, an x86 without VNNI
#: adds up pairs of products in saturating 16-bit.
_ACTIVATIONS: Literal["int8", "uint8"] = "uint8" if platform.machine() in {"x86_64", "AMD64"} else "int8"


def outcomes(test: NodeTest, format_name: str, precisions: Sequence[str]) -> Iterator[tuple[str, Outcome]]:
    """What becomes of a test in one format, precision by precision."""
    for precision in precisions:
        outcome = _attempt(test, format_name, precision)
        if outcome.status in {"refused", "rejected"} and test.operands and len(test.operands) < len(test.inputs):
            second = _attempt(with_constant_operands(test), format_name, precision)
            # With constants the model is the one that matters, so its reason is the one to tell.
            outcome = replace(second, constants=True)
        yield precision, outcome


def _attempt(test: NodeTest, format_name: str, precision: str) -> Outcome:
    try:
        with tempfile.TemporaryDirectory(prefix=_FOLDER) as folder:
            return _run(test, format_name, precision, Path(folder))
    except EdgecompError as error:
        return Outcome("refused", _one_line(error.actual))
    except Exception as error:  # anything else is a bug
        return Outcome("crashed", _one_line(f"{type(error).__name__}: {error}"))


def _run(test: NodeTest, format_name: str, precision: str, folder: Path) -> Outcome:
    source = folder / "model.onnx"
    source.write_bytes(test.model.SerializeToString())
    loaded = load_source(source, example_inputs=tuple(test.inputs.values()))
    model = prepare(loaded)
    quantized = precision == "int8" and not model.quantization
    if quantized:
        model = quantize_static(model, [loaded.inputs], StaticQuantization("minmax"), threads=1)
        if not any(runs_in_integers(node, model.quantization) for node in model.graph.graph):
            return Outcome("nothing")
    converter = load_converter(format_name)
    path = folder / f"model{converter.suffixes[0]}"
    conversion = converter.convert(model, path, ConversionOptions(activations=_ACTIVATIONS))
    try:
        actual = _predict(path, test.inputs)
    except Exception as error:  # verification meets this too, in a process of its own
        return Outcome("rejected", _one_line(f"the runtime does not run it: {getattr(error, 'actual', error)}"))
    # A source that came with integers has to give what ONNX expects of it.
    if not quantized:
        noise = _NOISE.get(format_name, _DEFAULT_NOISE)
        problem = _compare(test, test.expected, actual, noise)
        original = loaded.reference(loaded.inputs)
        if problem and not _compare(test, original, actual, noise):
            return Outcome("disputed", f"{problem}, as with the original in ONNX Runtime")
        rejected = problem and _rejects(original, actual, Tolerance().float_sqnr)
    else:
        problem = _compare_steps(model, conversion.islands, loaded.inputs, actual)
        simulated = Simulation(model, threads=1).run(tuple(loaded.inputs))
        rejected = problem and _rejects(simulated, actual, Tolerance().simulation_sqnr)
    if problem:
        return Outcome("rejected" if rejected else "wrong", problem)
    return Outcome("passed", ", ".join(sorted({island.op_type for island in conversion.islands})))


def _rejects(references: Sequence[Array], actual: Sequence[Array], sqnr: float) -> bool:
    """Whether verification would find that an artifact does not agree with its reference."""
    for reference, result in zip(references, actual, strict=True):
        if reference.shape != result.shape:
            return True
        comparison = compare("output", [(reference, result)], None)
        if comparison.broken or (comparison.sqnr is not None and comparison.sqnr < sqnr):
            return True
    return False


def _predict(path: Path, inputs: dict[str, Array]) -> list[Array]:
    from edgecomp import load

    return list(load(path).predict(inputs).values())


def _compare(test: NodeTest, expected: Sequence[Array], actual: Sequence[Array], noise: float) -> str:
    """What is wrong with the outputs of a float artifact; empty when nothing is."""
    for index, (result, wanted) in enumerate(zip(actual, expected, strict=True)):
        if (result.shape, result.dtype) != (wanted.shape, wanted.dtype):
            return f"output {index} is {result.dtype}{result.shape}, not {wanted.dtype}{wanted.shape}"
        if wanted.dtype.kind != "f":
            if not np.array_equal(result, wanted):
                return f"output {index}: {np.count_nonzero(result != wanted)} of {wanted.size} differ"
            continue
        finite = wanted[np.isfinite(wanted)].astype(np.float64)
        rtol = max(test.rtol, 4 * float(np.finfo(wanted.dtype).eps))
        slack = test.atol + max(noise, rtol / 100) * float(np.abs(finite).max(initial=0))
        if not np.allclose(result.astype(np.float64), wanted.astype(np.float64), rtol, slack, equal_nan=True):
            return f"output {index} differs by {np.nanmax(np.abs(result.astype(np.float64) - wanted)):.3g}"
    return ""


def _compare_steps(
    model: CompressedModel, islands: Sequence[FloatIsland], inputs: Sequence[Array], actual: Sequence[Array]
) -> str:
    """The same of an int8 artifact, which has to do what the simulation does, its islands in integers or in float."""
    candidates = [model, _with_floats(model, islands)] if islands else [model]
    distances = []
    for candidate in candidates:
        simulated = Simulation(candidate, threads=1).run(tuple(inputs))
        units = [
            float(model.quantization[value.name].scale) if value.name in model.quantization else _unit(array)
            for value, array in zip(model.graph.graph.outputs, simulated, strict=True)
        ]
        distances.append(max(map(_distance, actual, simulated, units)))
    best = min(distances)
    return "" if best <= _STEPS + 1e-3 else f"{best:.3g} quantization steps from the simulation"


def _unit(array: Array) -> float:
    return float(np.abs(array.astype(np.float64)).max(initial=0) / 255) or 1.0


def _distance(actual: Array, wanted: Array, unit: float) -> float:
    if (actual.shape, actual.dtype) != (wanted.shape, wanted.dtype):
        return float("inf")
    difference = np.abs(actual.astype(np.float64) - wanted.astype(np.float64)) / unit
    return float(np.where(np.isnan(difference), np.inf, difference).max(initial=0))


def _with_floats(model: CompressedModel, islands: Sequence[FloatIsland]) -> CompressedModel:
    """The model with the islands as the float nodes that they are."""
    graph, names = model.graph.clone(), {island.node for island in islands}
    for node in graph.graph:
        if node.name in names:
            for float_node in filter(None, (node, fused_activation(node))):
                float_node.metadata_props[PRECISION_KEY] = "float32"
    return replace(model, graph=graph)


def _one_line(text: str) -> str:
    """A reason without line breaks and without the temporary folder, whose name is another in each run."""
    return " ".join(re.sub(rf"\S*{_FOLDER}[^/\s]*/", "", text).split())[:240]
