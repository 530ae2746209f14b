"""Calibration data that deserve a word of warning, and such that do not."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from broken_nets import kernel, net, node

from edgecomp.data import InputSpec, collect_calibration, collect_evaluation
from edgecomp.diagnosis.doubts import doubts
from edgecomp.model import CompressedModel
from edgecomp.quantization.static import quantize_static

SPECS = [InputSpec("x", "float32", (1, 3, 6, 6))]


def classifier() -> CompressedModel:
    return net(
        node("Conv", "x w1", "features"), node("Relu", "features", "positive"),
        node("GlobalAveragePool", "positive", "means"), node("Flatten", "means", "y"),
        w1=kernel(8, 3), inputs={"x": (1, 3, 6, 6)},
    )  # fmt: skip


def images(count: int, seed: int = 0, scale: float = 1.0) -> Iterator[np.ndarray]:
    random = np.random.default_rng(seed)
    for _ in range(count):
        tint = random.normal(size=(1, 3, 1, 1))
        yield (scale * (tint + random.normal(size=(1, 3, 6, 6)))).astype(np.float32)


def notes(calibration: Any, evaluation: Any = None) -> str:
    model = classifier()
    data = collect_calibration(list(calibration), SPECS, subject="calibration")
    judged = None if evaluation is None else collect_evaluation(list(evaluation), SPECS, subject="evaluation")
    return " ".join(doubts(quantize_static(model, data, threads=1), model, data, judged))


def labelled(pictures: Any, classes: int = 8) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(image, np.array([index % classes])) for index, image in enumerate(pictures)]


def test_good_data_raise_no_doubt() -> None:
    assert notes(images(40), labelled(images(40, seed=1))) == ""


@pytest.mark.parametrize(
    ("calibration", "expected"),
    [
        (lambda: images(10), "Ranges rest on 10 calibration samples"),
        (lambda: [next(images(1))] * 40, "The first 16 calibration samples are all the same"),
        (lambda: (next(images(1)) + 0.001 * image for image in images(40)), "calibration samples the class"),
    ],
)
def test_calibration_data_that_show_too_little(calibration: Any, expected: str) -> None:
    assert expected in notes(calibration())


def test_labels_of_one_class() -> None:
    assert "All of the first 40 evaluation labels are 0" in notes(images(40), labelled(images(40, seed=1), classes=1))


def test_evaluation_data_of_another_scale() -> None:
    found = notes(images(40), labelled(images(40, seed=1, scale=50.0)))
    assert "The evaluation data are unlike the calibration data" in found
    assert "Input 'x' was calibrated from -" in found
    assert "of its values lie far beyond" in found


def test_a_channel_that_is_constant_in_calibration_alone() -> None:
    grey = list(images(40))
    for image in grey:
        image[:, 1] = 0.5
    found = notes(grey, labelled(images(40, seed=1)))
    assert "Channel 1 of input 'x' is 0.5 throughout the calibration data, and from -" in found
    assert "Channel" not in notes(grey, labelled(grey))
