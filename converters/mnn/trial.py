"""Runs what MNN's converter wrote beside ONNX Runtime: MNN computes some nodes wrongly, and crashes on others.

The inputs are random, so that this needs no data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.arrays import Array, Arrays
from edgecomp.interface import Interface, TensorInterface
from edgecomp.model import CompressedModel
from edgecomp.quantization.scheme import PRECISION_KEY, fused_activation
from edgecomp.system.isolation import run_isolated

_TIMEOUT = 600.0

#: What stands for a size that is not fixed.
_ANY_SIZE = 2

#: How far a float output may lie from ONNX Runtime's, as a share of its largest number. MNN's Winograd transforms lose
#: digits in every layer.
_TOLERANCE = 2e-3
#: By what share of itself a number may be another one after arithmetic in another order.
_LAST_DIGITS = 1e-5
#: Probabilities of nothing are all tiny: below this the distance is measured from here.
_SMALLEST = 1e-3
#: The same, for the mean distance in a quantized model, where a rounding that falls the other way lets others follow.
_INT8_TOLERANCE = 0.1
#: The share of numbers that may be others behind an operator that decides: two candidates may be as good as equal.
_UNDECIDED = 0.01

_DECIDING = frozenset(
    {
        "ArgMax", "ArgMin", "Cast", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "GridSample", "Less",
        "LessOrEqual", "Mod", "NonMaxSuppression", "NonZero", "Round", "Sign", "TopK",
    }
)  # fmt: skip

#: Of equal numbers MNN takes any first, where ONNX takes the one in front.
_AMBIGUOUS = frozenset({"NonMaxSuppression", "TopK"})


@dataclass(frozen=True)
class Trial:
    """What a model is tried out with.

    Attributes:
        batches: Arrays as the source takes them, one per input, for each run.
        expected: What ONNX Runtime makes of each batch.
    """

    batches: tuple[Arrays, ...]
    expected: tuple[Arrays, ...]


def prepare(model: CompressedModel) -> Trial:
    """The batches that ONNX Runtime can run a model on, and what it makes of them."""
    from edgecomp.quantization.simulation import Simulation

    simulation = Simulation(model, threads=1, lasting=False)
    runs = []
    for batch in _batches(model):
        # Numbers that are sizes or indices may not fit what else there is. ONNX Runtime's exceptions have no common
        # base below Exception.
        with contextlib.suppress(Exception):
            runs.append((batch, tuple(simulation.run(batch))))
    return Trial(tuple(batch for batch, _ in runs), tuple(expected for _, expected in runs))


def _batches(model: CompressedModel) -> list[Arrays]:
    graph = model.graph.graph
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]
    random = np.random.default_rng(0)

    def draw(value: ir.Value, floats: Callable[[tuple[int, ...]], Array], lowest: int) -> Array:
        assert value.dtype is not None
        sizes = () if value.shape is None else value.shape
        shape = tuple(size if isinstance(size, int) else _ANY_SIZE for size in sizes)
        dtype = value.dtype.numpy()
        if dtype.kind == "f":
            array = np.asarray(floats(shape), dtype)
            parameters = model.quantization.get(value.name or "")
            # Beyond its range a quantized model and its simulation are only alike where both saturate.
            return array if parameters is None else parameters.dequantize(parameters.quantize(array))
        return random.integers(lowest if dtype.kind == "i" else 0, lowest + 2, shape).astype(dtype)

    kinds: list[tuple[Callable[[tuple[int, ...]], Array], int]] = [
        (random.random, 0),
        (random.standard_normal, 0),
        # Halves and equal numbers (but for 0, whose two signs MNN tells apart), and indices from the end.
        (lambda shape: np.rint(4 * random.standard_normal(shape)) / 2 + 0.0, -1),
    ]
    ambiguous = any(node.op_type in _AMBIGUOUS for node in graph)
    return [tuple(draw(value, *kind) for value in inputs) for kind in kinds[: 2 if ambiguous else 3]]


def run_trial(path: Path, interface: Interface, trial: Trial, subject: str) -> tuple[list[list[Array]], frozenset[str]]:
    """Runs a file in a process of its own.

    Args:
        path: A finished `.mnn` file.
        interface: Its inputs and outputs.
        trial: What to run it on; without batches the file is only loaded.
        subject: For the error message.

    Returns:
        The outputs of each run, and the names of the ops that MNN computed in int8.
    """
    folder = path.parent / "trial"
    folder.mkdir(exist_ok=True)
    for index, batch in enumerate(trial.batches):
        arrays = [_stored(array, item) for array, item in zip(batch, interface.inputs, strict=True)]
        np.savez(folder / f"inputs{index}.npz", *arrays)
    integer = run_isolated(
        "edgecomp.converters.mnn.toolchain:trace",
        subject=subject,
        timeout=_TIMEOUT,
        path=str(path),
        folder=str(folder),
        batches=len(trial.batches),
    )
    outputs = []
    for index in range(len(trial.batches)):
        with np.load(folder / f"outputs{index}.npz") as file:
            outputs.append([file[f"arr_{position}"] for position in range(len(interface.outputs))])
    return outputs, frozenset(integer)


def _stored(array: Array, item: TensorInterface) -> Array:
    return np.asarray(array, item.dtype)


def computes_in_float(model: CompressedModel) -> bool:
    """Whether an artifact computes with real numbers, whatever its weights are stored as."""
    return model.weights_only or not model.quantization


def largest_difference(
    model: CompressedModel, interface: Interface, trial: Trial, outputs: Sequence[Sequence[Array]]
) -> tuple[str, float]:
    """The output that MNN computes the most unlike ONNX Runtime, and by how many times what is allowed."""
    undecided = _UNDECIDED if any(node.op_type in _DECIDING for node in model.graph.graph) else 0.0
    found = ("", 0.0)
    for wanted, given in zip(trial.expected, outputs, strict=True):
        for item, left, right in zip(interface.outputs, wanted, given, strict=True):
            if (parameters := model.quantization.get(item.name)) is not None:
                # A node in float gives real numbers that the simulation saturates.
                right = parameters.dequantize(parameters.quantize(right))
            ratio = difference(left, right, undecided, quantized=not computes_in_float(model))
            found = max(found, (item.name, ratio), key=lambda pair: pair[1])
    return found


def with_floats(model: CompressedModel, nodes: Container[str]) -> CompressedModel:
    """A quantized model whose simulation computes some nodes in float, where saturation does not show between them."""
    marked = model.graph.clone()
    for node in marked.graph:
        activation = fused_activation(node)
        if node.name in nodes:
            for each in (node, activation):
                if each is not None:
                    each.metadata_props[PRECISION_KEY] = "float32"
    return replace(model, graph=marked)


def difference(wanted: Array, given: Array, undecided: float = 0.0, *, quantized: bool = False) -> float:
    """How far an output lies from what it is to be, as a multiple of what is allowed."""
    if wanted.shape != given.shape:
        return np.inf
    # Where the source itself gives no number, random inputs are not what it was made for.
    finite = np.isfinite(wanted) if wanted.dtype.kind == "f" else np.ones(wanted.shape, bool)
    left, right = wanted[finite].astype(np.float64), given[finite].astype(np.float64)
    if not left.size:
        return 0.0
    away: npt.NDArray[np.float64] = np.abs(left - right)
    if wanted.dtype.kind != "f":
        if quantized:
            # What is decided on rounded numbers, of which many are equal, may be decided otherwise.
            return 0.0
        return np.inf if np.count_nonzero(away) > undecided * left.size else 0.0
    away = np.where(np.isfinite(away), away, np.inf) / max(np.abs(left).max(), _SMALLEST)
    if quantized:
        return float(away.mean()) / _INT8_TOLERANCE
    # The most different ones may be those that were decided otherwise.
    return float(np.sort(away, axis=None)[-1 - int(undecided * away.size)]) / _TOLERANCE


def find_disagreement(
    model: CompressedModel, trial: Trial, outputs: Sequence[Sequence[Array]], parts: CompressedModel
) -> ir.Node | None:
    """The node whose outputs are not what ONNX Runtime makes of the very numbers that MNN gave it, nor of others that
    differ in their last digits.

    Args:
        model: Gives out all its values.
        trial: The trial of `model`.
        outputs: What MNN made of it.
        parts: The same nodes cut apart (`blame.cut_apart`).
    """
    from edgecomp.quantization.simulation import Simulation

    simulation = Simulation(parts, threads=1)
    values = {value.name: index for index, value in enumerate(model.graph.graph.outputs)}
    makers = [(node, value.name) for node in model.graph.graph for value in node.outputs if value.name in values]
    for batch, wanted, made in zip(trial.batches, trial.expected, outputs, strict=True):
        # In the middle of a graph MNN may lay a tensor out its own way; nothing can be said of such a one.
        told = [a.shape == b.shape for a, b in zip(made, wanted, strict=True)]
        given = [a.astype(b.dtype) if same else b for a, b, same in zip(made, wanted, told, strict=True)]
        read = [*batch, *(given[values[name]] for _, name in makers)]
        try:
            expected = simulation.run(read)
        # ONNX Runtime's exceptions have no common base below Exception; shapes may depend on the numbers.
        except Exception:
            return None
        differing = [
            (node, values[name])
            for node, name in makers
            if told[values[name]] and difference(expected[values[name]], given[values[name]]) > 1
        ]
        if differing:
            # A recurrent layer that magnifies its last digits at every step is not wrong, whichever it makes of them.
            nudged = simulation.run([_nudged(array) for array in read])
            for node, place in differing:
                if difference(expected[place], nudged[place]) <= 1:
                    return node
    return None


def _nudged(array: Array) -> Array:
    """Real numbers with other last digits."""
    if array.dtype.kind != "f":
        return array
    digits = np.random.default_rng(0).standard_normal(array.shape) * _LAST_DIGITS
    return np.asarray(array * (1 + digits), array.dtype)
