"""Loads a source, with the data that were given for it in their place."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from edgecomp.arrays import Arrays
from edgecomp.data import InputSpec, collect_calibration
from edgecomp.errors import EdgecompError
from edgecomp.frontends import Source, load_source
from edgecomp.frontends.constants import Constants
from edgecomp.frontends.pictures import Preprocessing
from edgecomp.progress import Progress, silent
from edgecomp.shapes import Shapes
from edgecomp.system.threads import one_torch_thread
from edgecomp.verification.metrics import Metrics

if TYPE_CHECKING:
    import torch

#: Where data come from: a place as `frontends.data_files.open_data` takes it, or a function that opens them.
Data = str | Path | Callable[[], Iterable[Any]]


class Brought(TypedDict, total=False):
    """What may be given beside a source, as `pipeline.compress` takes it; passed on to `load` as it is."""

    shapes: Shapes | None
    constants: Constants | None
    example_inputs: Any
    calibration: Data | None
    evaluation: Data | None
    training: Data | None
    preprocess: str | None
    metric: str | Metrics | None


def load(
    source: str | Path | torch.nn.Module | Source,
    *,
    seed: int = 0,
    shapes: Shapes | None = None,
    constants: Constants | None = None,
    example_inputs: Any = None,
    calibration: Data | None = None,
    evaluation: Data | None = None,
    training: Data | None = None,
    preprocess: str | None = None,
    metric: str | Metrics | None = None,
    progress: Progress = silent,
) -> Source:
    """Loads a source; data that are given take the place of its own. The arguments are those of `pipeline.compress`.

    Raises:
        InputError: The source cannot be used.
    """
    _seed(seed, source)
    progress("load", 0, 1)
    with one_torch_thread():  # an export runs the module a few times only; threads that wait for a busy core cost more
        loaded = (
            source
            if isinstance(source, Source)
            else load_source(
                source,
                shapes=shapes,
                example_inputs=example_inputs,
                sample=None if calibration is None else lambda inputs: _sample(calibration, inputs, preprocess),
                constants=constants,
            )
        )
    progress("load", 1, 1)
    return replace(
        loaded,
        preprocessing=_preprocessing(loaded, preprocess),
        calibration_data=_opener(calibration, loaded, preprocess) or loaded.calibration_data,
        evaluation_data=_labelled_opener(evaluation, loaded, preprocess) or loaded.evaluation_data,
        train_data=_labelled_opener(training, loaded, preprocess) or loaded.train_data,
        metrics=_metrics(metric, loaded, evaluation),
    )


def _seed(seed: int, source: object) -> None:
    """Seeds what task files draw random numbers from: a module may be initialised with them, data be augmented."""
    random.seed(seed)
    np.random.seed(seed)
    if "torch" in sys.modules or (isinstance(source, str | Path) and not str(source).endswith(".onnx")):
        import torch

        torch.manual_seed(seed)


def _sample(data: Data, inputs: Sequence[InputSpec], preprocess: str | None) -> Arrays | None:
    """The first of some data, if it has the example sizes; what is wrong with data is said when all are read."""
    from edgecomp.frontends.data_files import open_data

    try:
        preprocessing = None if preprocess is None else Preprocessing.parse(preprocess)
        items = open_data(data, inputs, preprocessing=preprocessing) if isinstance(data, str | Path) else data()
        batch = max((spec.shape[0] for spec in inputs if spec.shape), default=1)
        return next(iter(collect_calibration(items, inputs, subject="the calibration data", limit=batch)))
    except EdgecompError:
        return None


def _opener(data: Data | None, source: Source, preprocess: str | None) -> Callable[[], Iterable[Any]] | None:
    if data is None or not isinstance(data, str | Path):
        return data
    from edgecomp.frontends.data_files import open_data

    preprocessing = _preprocessing(source, preprocess)
    return lambda: open_data(data, source.input_specs, preprocessing=preprocessing)


def _labelled_opener(data: Data | None, source: Source, preprocess: str | None) -> Callable[[], Iterable[Any]] | None:
    if data is None or not isinstance(data, str | Path):
        return data
    from edgecomp.frontends.labelled_files import Classes, open_labelled

    last = next((value.shape[-1] for value in source.graph.graph.outputs if value.shape), None)
    classes = Classes(source.labels, last if isinstance(last, int) else None)
    preprocessing = _preprocessing(source, preprocess)
    return lambda: open_labelled(data, source.input_specs, preprocessing=preprocessing, classes=classes)


def _metrics(given: str | Metrics | None, source: Source, evaluation: Data | None) -> Metrics | None:
    """What was asked for, or what the source says; of pictures in classes, accuracy."""
    if given is not None:
        return Metrics.parse(given) if isinstance(given, str) else given
    from edgecomp.frontends.labelled_files import is_class_folder

    in_classes = isinstance(evaluation, str | Path) and is_class_folder(Path(evaluation))
    return source.metrics or (Metrics("accuracy") if in_classes else None)


def _preprocessing(source: Source, given: str | None) -> Preprocessing | None:
    return source.preprocessing if given is None else Preprocessing.parse(given)
