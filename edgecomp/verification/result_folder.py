"""Verifies a result folder again, long after and far away from where it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecomp import manifest
from edgecomp.arrays import Array, Arrays
from edgecomp.artifact import from_stored
from edgecomp.data import CalibrationData, EvaluationData, InputSpec, collect_calibration, collect_evaluation
from edgecomp.errors import DataError, SourceError
from edgecomp.interface import Interface, TensorInterface
from edgecomp.processing import Processing
from edgecomp.verification.answers import AnswerSheet, Churn, ClassReport, answer_sheet
from edgecomp.verification.comparison import Comparison, compare
from edgecomp.verification.golden import Golden
from edgecomp.verification.metrics import Metrics, Scores, meaning
from edgecomp.verification.recording import Recorder

if TYPE_CHECKING:
    from edgecomp.frontends import Source

#: What the original is called.
ORIGINAL = "original"

#: Beyond so many steps from the outputs that were recorded, another machine does not compute the same.
_GOLDEN_STEPS = 8.0


@dataclass(frozen=True)
class Pair:
    """Two artifacts, or the original and one, on the same inputs.

    Attributes:
        reference: "original", or a file name.
        candidate: A file name.
        comparisons: One per output.
        churn: Which answers differ; None where there is not one answer for each sample of the data.
    """

    reference: str
    candidate: str
    comparisons: tuple[Comparison, ...]
    churn: Churn | None = None


@dataclass(frozen=True)
class Reverification:
    """What was found.

    Attributes:
        samples: How many samples the artifacts ran on, the golden one included.
        pairs: Each artifact against the original, which is there on the golden sample only unless it was given, and
            each two artifacts on all samples.
        violations: Broken promises, in words.
        metrics: Model -> what was measured on labelled data, by name.
        classes: How well each model does on each class; empty without labels.
    """

    samples: int
    pairs: tuple[Pair, ...]
    violations: tuple[str, ...]
    metrics: Mapping[str, Scores] = field(default_factory=dict)
    classes: tuple[ClassReport, ...] = ()


def verify_folder(
    folder: Path,
    *,
    data: str | None = None,
    preprocess: str | None = None,
    metrics: Metrics | None = None,
    original: Source | None = None,
) -> Reverification:
    """Checks every artifact's hash and golden outputs, and compares the artifacts with each other.

    Args:
        folder: What `compress` wrote.
        data: More inputs, as `--calibration` takes them, or with labels, as `--evaluation` does.
        preprocess: How pictures become inputs; by default as the manifest says.
        metrics: What to measure if the data have labels; by default what the manifest measured, or accuracy where
            labels are classes.
        original: The model that the artifacts were made of, to run on the data too.

    Raises:
        SourceError: The folder is not a result folder, or a file is missing, or the original is another model.
        DataError: The data do not fit, or have no labels and metrics were asked for.
    """
    violations: list[str] = []
    paths = []
    content = manifest.read(folder)
    entries = content["artifacts"]
    for entry in entries:
        path = manifest.artifact_path(folder, entry)
        # A file that is not the one that was verified is not run either: there is no telling what it is.
        if manifest.sha256(path) == entry["sha256"]:
            paths.append(path)
        else:
            violations.append(f"{path.name} is not the file that was verified: its SHA-256 differs")
    golden = Golden(folder)
    given = None if data is None else _open(data, preprocess, golden, content)
    if metrics is not None and not isinstance(given, EvaluationData):
        raise DataError(
            "--metric" if data is None else data,
            expected="data with labels, to measure metrics on",
            actual="no data" if data is None else "inputs without labels",
            cure="give --data a folder of pictures with a sub-folder for each class, an .npz with an array `labels`, "
            "or file.py:function that yields (inputs, labels)",
        )
    samples = GoldenFirst(tuple(golden.inputs.values()), given)
    with Recorder(samples, tuple(golden.inputs), tuple(golden.outputs)) as recorder:
        names = []
        if original is not None:
            _check_original(original, golden)
            recorder.run(ORIGINAL, original.reference)
            names.append(ORIGINAL)
        pairs = []
        for path in paths:
            interface = recorder.run_artifact(path)
            violations.extend(_drift(recorder, path.name, interface, golden))
            names.append(path.name)
            if original is None:
                pairs.append(_against_golden(recorder, path.name, golden))
        pairs.extend(_between(recorder, *pair, golden) for pair in combinations(names, 2))
        compared = (entry for pair in pairs for entry in pair.comparisons)
        sheet = answer_sheet(recorder, names[0], compared) if given is not None and names else None
        if sheet is not None:
            pairs = [_with_churn(pair, sheet) for pair in pairs]
        metrics = metrics or _usual_metrics(content, sheet)
        return Reverification(
            recorder.samples,
            tuple(pairs),
            tuple(violations),
            {name: scores for name in names if (scores := recorder.scores_of(name, metrics))},
            () if sheet is None else sheet.classes(names),
        )


class GoldenFirst:
    """The golden sample, which has no label and is no part of the data, followed by data.

    Args:
        golden: The inputs.
        data: What comes then; None for nothing.
    """

    def __init__(self, golden: Arrays, data: CalibrationData | EvaluationData | None) -> None:
        self._golden, self._data = golden, data

    def __len__(self) -> int:
        return 1 + (0 if self._data is None else len(self._data))

    def __iter__(self) -> Iterator[tuple[Arrays, Array | None]]:
        yield self._golden, None
        if isinstance(self._data, EvaluationData):
            yield from self._data
        elif self._data is not None:
            yield from ((batch, None) for batch in self._data)

    @property
    def places(self) -> Sequence[Sequence[int]]:
        """Nothing for the golden sample, and the numbers that the data have."""
        return [[], *([] if self._data is None else self._data.places)]


def _open(
    data: str, preprocess: str | None, golden: Golden, content: Mapping[str, Any]
) -> CalibrationData | EvaluationData:
    from edgecomp.frontends.labelled_files import Classes, open_maybe_labelled
    from edgecomp.frontends.pictures import Preprocessing

    specs = _specs(golden, content["artifacts"])
    processing = Processing.from_dict(content["processing"], manifest.FILE)
    preprocessing = processing.preprocessing if preprocess is None else Preprocessing.parse(preprocess)
    count = next((array.shape[-1] for array in golden.outputs.values() if array.ndim), None)
    classes = Classes(processing.labels, count)
    items, labelled = open_maybe_labelled(data, specs, preprocessing=preprocessing, classes=classes)
    return (collect_evaluation if labelled else collect_calibration)(items, specs, subject=data)


def _usual_metrics(content: Mapping[str, Any], sheet: AnswerSheet | None) -> Metrics | None:
    """What was measured when the folder was made, unless a task's code is needed for it."""
    recorded = [name for name in content["verification"].get("metrics", {}) if meaning(name) is not None]
    if recorded:
        return Metrics(*recorded)
    return Metrics("accuracy") if sheet is not None and sheet.has_labels else None


def _check_original(original: Source, golden: Golden) -> None:
    """The original has the inputs and outputs of the artifacts."""
    graph = original.graph.graph
    found, wanted = (
        ", ".join(map(str, names))
        for names in ([value.name for value in (*graph.inputs, *graph.outputs)], [*golden.inputs, *golden.outputs])
    )
    if found != wanted:
        raise SourceError(
            f"--original {original.name}",
            expected=f"the model that the folder was made of, with {wanted}",
            actual=f"one with {found}",
            cure="give the source that was compressed, with the same --shape",
        )


def _with_churn(pair: Pair, sheet: AnswerSheet) -> Pair:
    """A pair with the answers that changed, if both ran on the data."""
    return replace(pair, churn=sheet.churn(pair.reference, pair.candidate)) if sheet.knows(pair.reference) else pair


def _specs(golden: Golden, entries: Sequence[Mapping[str, Any]]) -> tuple[InputSpec, ...]:
    """What the artifacts take; a dimension may have any size when it is dynamic in one of them."""
    interfaces = [TensorInterface.from_json(spec) for entry in entries for spec in entry["inputs"]]
    specs = []
    for name, array in golden.inputs.items():
        shapes = [spec.source_shape for spec in interfaces if spec.name == name]
        free = [any(shape[axis] is None for shape in shapes) for axis in range(array.ndim)]
        names = tuple(("batch" if axis == 0 else f"{name}_{axis}") if each else None for axis, each in enumerate(free))
        specs.append(InputSpec(name, array.dtype.name, array.shape, names))
    return tuple(specs)


def _against_golden(recorder: Recorder, name: str, golden: Golden) -> Pair:
    results = recorder.first(name)
    steps = golden.steps(name)
    return Pair(
        ORIGINAL,
        name,
        tuple(
            compare(output, [(expected, results[output])], steps[index])
            for index, (output, expected) in enumerate(golden.outputs.items())
        ),
    )


def _between(recorder: Recorder, first: str, second: str, golden: Golden) -> Pair:
    steps = golden.steps(second)
    return Pair(
        first,
        second,
        tuple(
            compare(output, recorder.pairs(first, second, output), steps[index])
            for index, output in enumerate(golden.outputs)
        ),
    )


def _drift(recorder: Recorder, name: str, interface: Interface, golden: Golden) -> Iterator[str]:
    """What an artifact computes otherwise than when it was recorded."""
    results = recorder.first(name)
    for index, spec in enumerate(interface.outputs):
        recorded = from_stored(golden[f"{name}/outputs/{index}"], spec)
        unit = golden.steps(name)[index] or float(np.ptp(recorded)) / 255 or 1.0
        away = float(np.abs(results[spec.name] - recorded).max(initial=0.0)) / unit
        if not away <= _GOLDEN_STEPS:  # NaN is far away too
            yield f"{name}: output {spec.name!r} is {away:.1f} steps from what was recorded"
