"""Two results to bundle: a classifier of small pictures, and a model that knows nothing of pictures (`made`)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from conftest import save_onnx
from onnx import helper

from edgecomp.bundle.build import Bundle, make_bundle
from edgecomp.bundle.signing import write_keys
from edgecomp.frontends import load_source
from edgecomp.frontends.pictures import Preprocessing
from edgecomp.pipeline import compress

LABELS = ("a cat", 'a "dog"', "größer", "none of these")
STEPS = Preprocessing(resize=12, crop=10, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), interpolation="bicubic")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """image (1, 3, 10, 10) -> scores (1, 4), int8, with labels and preprocessing."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(size=(8, 3, 3, 3)),
        "bias": random.normal(size=8),
        "matrix": random.normal(size=(8 * 10 * 10, 4)) / 20,
    }
    path = save_onnx(
        folder / "cats.onnx",
        [
            helper.make_node("Conv", ["image", "kernel", "bias"], ["features"], "conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["features"], ["positive"], "relu"),
            helper.make_node("Flatten", ["positive"], ["flat"], "flatten"),
            helper.make_node("MatMul", ["flat", "matrix"], ["scores"], "head"),
        ],
        {"image": [1, 3, 10, 10]},
        {"scores": [1, 4]},
        {name: array.astype(np.float32) for name, array in weights.items()},
    )
    source = dataclasses.replace(load_source(path), labels=LABELS, preprocessing=STEPS)
    samples = [(random.normal(size=(1, 3, 10, 10)).astype(np.float32),) for _ in range(16)]
    return compress(source, "pixel-8", folder / "result", calibration=lambda: samples).folder


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key, with the public one beside it."""
    path = tmp_path_factory.mktemp("keys") / "release"
    write_keys(path)
    return path


@pytest.fixture(scope="session")
def bundles(pictures: Path, key: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """The classifier, signed, for every platform."""
    from edgecomp.bundle.platform import available_platforms

    folder = tmp_path_factory.mktemp("bundles")
    return {
        platform: make_bundle(pictures, platform, folder / platform, name="cats", sign=key, release=3)
        for platform in available_platforms()
    }
