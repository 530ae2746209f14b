"""Results to bundle: a classifier of small pictures, a model that takes none (`made`), and a real network."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
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
from edgecomp.recipe import default_recipe
from edgecomp.target import load_target

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


@pytest.fixture(scope="session")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EfficientNet-Lite0 with labels and preprocessing, in int8 for LiteRT and ONNX Runtime; few samples do here."""
    example = Path(__file__).parents[1] / "examples" / "efficientnet_lite0.py"
    recipe = default_recipe(load_target("pixel-8"))
    few = dataclasses.replace(recipe.data, calibration_samples=16, evaluation_samples=16)
    source = dataclasses.replace(load_source(example), labels=tuple(f"class number {index}" for index in range(1000)))
    folder = tmp_path_factory.mktemp("lite0") / "result"
    chosen = dataclasses.replace(recipe, formats=("tflite", "onnxruntime"), data=few)
    return compress(source, "pixel-8", folder, recipe=chosen).folder


@pytest.fixture(scope="session")
def photo() -> Path:
    """One of foolbox's photos, whose name ends in its class."""
    spec = find_spec("foolbox")
    assert spec is not None
    assert spec.submodule_search_locations
    return sorted((Path(spec.submodule_search_locations[0]) / "data").glob("imagenet_*.jpg"))[12]
