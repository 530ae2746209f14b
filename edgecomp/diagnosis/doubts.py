"""Reasons to doubt the data that ranges were measured on: a small function for each, in a table.

A function returns a note, a whole sentence with its evidence, or None. Nothing is refused, because there may be no
other data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from edgecomp.arrays import Array, Arrays
from edgecomp.data import CalibrationData, EvaluationData
from edgecomp.diagnosis.layers import layers_of
from edgecomp.model import CompressedModel
from edgecomp.precision import PRECISIONS
from edgecomp.quantization import scheme
from edgecomp.quantization.calibration import Statistics, collect, largest_of
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.simulation import Simulation
from edgecomp.system.memory import freed_at_once

#: The number of batches that are checked.
_BATCHES = 16
#: With fewer calibration samples than this, ranges depend on chance.
_FEW = 32
#: A value is beyond a range if it is outside by this share of the range's width; estimators clip a little anyway.
_BEYOND = 0.25
#: A share of such values that is not explained by chance.
_OFTEN = 0.005


@dataclass(frozen=True)
class Facts:
    """The facts that the functions check.

    Attributes:
        model: Quantized with calibrated activations.
        unrounded: The same in float.
        calibration: The data that its ranges were measured on.
        evaluation: The data that it is judged on; None without any.
    """

    model: CompressedModel
    unrounded: CompressedModel
    calibration: CalibrationData
    evaluation: EvaluationData | None

    @cached_property
    def calibration_batches(self) -> list[Arrays]:
        """The first calibration batches."""
        return list(islice(self.calibration, _BATCHES))

    @cached_property
    def evaluation_batches(self) -> list[Arrays]:
        """The first evaluation batches; empty without any."""
        return [inputs for inputs, _ in islice(self.evaluation or (), _BATCHES)]

    @cached_property
    def answers(self) -> Array | None:
        """The classes that the float model assigns to calibration samples; None if it is not a classifier."""
        model = Simulation(CompressedModel(self.unrounded.graph, dynamic=self.unrounded.dynamic), streaming=True)
        first = [outputs[0] for outputs in model.run_all(self.calibration_batches)]
        if not first or first[0].ndim != 2 or first[0].shape[1] < 3 or first[0].dtype.kind != "f":
            return None
        return np.concatenate([scores.argmax(axis=1) for scores in first])

    @property
    def names(self) -> list[str]:
        """The names of the inputs."""
        return [value.name or "" for value in self.model.graph.graph.inputs]


def _few_samples(facts: Facts) -> str | None:
    if facts.calibration.samples >= _FEW:
        return None
    return f"Ranges rest on {facts.calibration.samples} calibration samples: 100 or more make them reliable."


def _same_samples(facts: Facts) -> str | None:
    first, *others = facts.calibration_batches
    rows = [row for batch in (first, *others) for row in batch[0]]
    if len(rows) < 2 or any(not np.array_equal(row, rows[0]) for row in rows[1:]):
        return None
    return f"The first {len(rows)} calibration samples are all the same: their ranges are those of one sample."


def _one_class(facts: Facts) -> str | None:
    answers = facts.answers
    if answers is None or len(answers) < 8 or len(set(answers.tolist())) > 1:
        return None
    return (
        f"The model gives all of the first {len(answers)} calibration samples the class {int(answers[0])}: ranges of "
        "other classes were not seen."
    )


def _one_label(facts: Facts) -> str | None:
    labels = [label for _, batch in islice(facts.evaluation or (), 64) for label in np.atleast_1d(batch).reshape(-1)]
    if len(labels) < 8 or len(set(labels)) > 1:
        return None
    return f"All of the first {len(labels)} evaluation labels are {labels[0]}: the metric speaks of one class only."


def _constant_channels(facts: Facts) -> str | None:
    """Finds input channels that are constant in calibration data but not in evaluation data."""
    for index, name in enumerate(facts.names):
        ranges = _channel_ranges([batch[index] for batch in facts.calibration_batches])
        constant = [channel for channel, (low, high) in enumerate(ranges) if low == high]
        if not constant or len(ranges) < 2:
            continue
        later = _channel_ranges([batch[index] for batch in facts.evaluation_batches])
        changed = [channel for channel in constant if len(later) == len(ranges) and later[channel] != ranges[channel]]
        if changed:
            return (
                f"Channel {changed[0]} of input {name!r} is {ranges[changed[0]][0]:g} throughout the calibration data, "
                f"and from {later[changed[0]][0]:.4g} to {later[changed[0]][1]:.4g} in the evaluation data."
            )
    return None


def _unlike_data(facts: Facts) -> str | None:
    """Finds evaluation data that exceed the calibrated ranges."""
    if not facts.evaluation_batches:
        return None
    ranges = _ranges(facts)
    batches, dynamic = facts.evaluation_batches, facts.unrounded.dynamic
    seen = collect(
        facts.unrounded.graph, list(ranges), batches, threads=1, dynamic=dynamic, largest=largest_of(batches)
    ).statistics
    shares = {name: _share_beyond(seen[name], parameters) for name, parameters in ranges.items()}
    beyond = {name: share for name, share in shares.items() if share > _OFTEN}
    if not beyond:
        return None
    inputs = [name for name in facts.names if name in beyond]
    name = inputs[0] if inputs else max(beyond, key=beyond.__getitem__)
    low, high = ranges[name].range
    return (
        f"The evaluation data are unlike the calibration data: {len(beyond)} of {len(shares)} tensors leave their "
        f"ranges. {'Input' if inputs else 'Tensor'} {name!r} was calibrated from {low:.4g} to {high:.4g}; "
        f"{beyond[name]:.1%} of its values lie far beyond, from {seen[name].low:.4g} to {seen[name].high:.4g}. Is the "
        "preprocessing the same?"
    )


def _ranges(facts: Facts) -> Mapping[str, QuantizationParameters]:
    """Returns the calibrated parameters, without those that the scheme fixes or that belong to a copy."""
    values = {value.name: value for value in facts.unrounded.graph.graph.inputs}
    values |= {value.name: value for node in facts.unrounded.graph.graph for value in node.outputs}
    ranges = {}
    for layer in layers_of(facts.model):
        value, parameters = values.get(layer.tensor), facts.model.quantization[layer.tensor]
        producer = None if value is None else value.producer()
        fixed = producer is not None and producer.op_type in scheme.OPERATORS and scheme.fixed_parameters(producer)
        if value is not None and fixed != parameters:
            ranges[layer.tensor] = parameters
    return ranges


def _share_beyond(seen: Statistics, parameters: QuantizationParameters) -> float:
    low, high = parameters.range
    margin = _BEYOND * (high - low)
    outside = (seen.centers < low - margin) | (seen.centers > high + margin)
    return float(seen.counts[outside].sum() / seen.counts.sum())


def _channel_ranges(arrays: Sequence[Array]) -> list[tuple[float, float]]:
    """Returns the smallest and largest value of each channel (dimension 1); empty without channels of real numbers."""
    if not arrays or arrays[0].ndim < 3 or arrays[0].dtype.kind != "f" or len({each.shape[1] for each in arrays}) > 1:
        return []
    axes = tuple(axis for axis in range(arrays[0].ndim) if axis != 1)
    lows = np.min([array.min(axis=axes) for array in arrays], axis=0)
    highs = np.max([array.max(axis=axes) for array in arrays], axis=0)
    return list(zip(lows.tolist(), highs.tolist(), strict=True))


DOUBTS: tuple[Callable[[Facts], str | None], ...] = (
    _few_samples,
    _same_samples,
    _one_class,
    _one_label,
    _constant_channels,
    _unlike_data,
)


@freed_at_once()
def doubts(
    model: CompressedModel,
    unrounded: CompressedModel | None,
    calibration: CalibrationData | None,
    evaluation: EvaluationData | None,
) -> list[str]:
    """Returns every reason to doubt, as notes; none for a model that was not calibrated here."""
    if unrounded is None or calibration is None or not PRECISIONS[model.precision].calibrated:
        return []
    facts = Facts(model, unrounded, calibration, evaluation)
    return [note for doubt in DOUBTS if (note := doubt(facts)) is not None]
