"""C: compiled with every warning as an error, and held to Python's numbers; LiteRT runs the model."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_fixtures import LABELS
from compiled_c import FLAGS, RUN, Picture, Ranked, build, interpreter
from conftest import Made
from PIL import Image
from tools import answer_of
from vectors import STEPS, Vector, interface, vectors

from edgecomp.bundle.build import Bundle, make_bundle
from edgecomp.bundle.names import Name
from edgecomp.bundle.platform import template_folder
from edgecomp.bundle.platforms import c
from edgecomp.bundle.rendering import render_text
from edgecomp.errors import InputError
from edgecomp.processing import Processing

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")

TEMPLATES = template_folder("c")


@pytest.fixture(scope="module")
def library(bundles: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build(bundles["c"].folder, tmp_path_factory.mktemp("c") / "cats.so")


def test_the_self_test_passes_and_can_fail(library: Any, bundles: dict[str, Bundle]) -> None:
    run = interpreter(bundles["c"].folder / "model" / "model.tflite")
    difference = ctypes.c_float()
    assert library.cats_self_test(RUN(run), None, ctypes.byref(difference)) == 0
    assert difference.value < 0.01

    def wrong(context: Any, inputs: Any, outputs: Any) -> int:
        run(context, inputs, outputs)
        ctypes.cast(outputs[0], ctypes.POINTER(ctypes.c_float))[1] += 1e3
        return 0

    differs, failed = 6, 5
    assert library.cats_self_test(RUN(wrong), None, ctypes.byref(difference)) == differs
    assert library.cats_self_test(RUN(lambda *_: 1), None, ctypes.byref(difference)) == failed


def test_another_model_is_refused(library: Any, bundles: dict[str, Bundle]) -> None:
    model = (bundles["c"].folder / "model" / "model.tflite").read_bytes()
    tampered = 3
    assert library.cats_check_model(model, len(model)) == 0
    assert library.cats_check_model(model[:-1] + b"\x01", len(model)) == tampered
    assert library.cats_check_model(model, len(model) - 1) == tampered
    array = (ctypes.c_ubyte * len(model)).in_dll(library, "g_cats_model_data")
    assert bytes(array) == model
    library.cats_message.restype = ctypes.c_char_p
    assert b"SHA-256" in library.cats_message(tampered)


def test_answers_are_ranked_with_their_labels(library: Any) -> None:
    scores = np.array([1.0, 3.0, -2.0, 3.0], np.float32)
    best = (Ranked * 4)()
    assert library.cats_rank(scores.ctypes.data_as(ctypes.c_void_p), best, 3) == 3
    expected = Processing(softmax=True, labels=LABELS).answer(scores, top=3)
    assert [(line.index, line.label.decode()) for line in best[:3]] == [(line.index, line.label) for line in expected]
    assert np.allclose([line.score for line in best[:3]], [line.score for line in expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("width", "height", "channels"), [(0, 5, 3), (5, 0, 3), (5, 5, 2), (-1, 5, 3), (1 << 20,) * 2 + (3,)]
)
def test_a_picture_that_is_none_is_refused(width: int, height: int, channels: int, library: Any) -> None:
    picture, bad = Picture(b"12345678", width, height, channels), 1
    library.cats_workspace.restype = ctypes.c_size_t
    assert library.cats_workspace(ctypes.byref(picture)) == 0
    assert library.cats_preprocess(ctypes.byref(picture), None, None, ctypes.c_size_t(0)) == bad


def test_a_small_workspace_is_refused(library: Any) -> None:
    small = 2
    picture = Picture(bytes(27), 3, 3, 3)
    assert library.cats_preprocess(ctypes.byref(picture), None, None, ctypes.c_size_t(10)) == small


def test_sha256_of_every_length_of_a_block(library: Any) -> None:
    import hashlib

    for size in (*range(130), 1000):
        data, digest = bytes(range(256))[:size] * (1 if size < 256 else 4), ctypes.create_string_buffer(32)
        library.cats_sha256(data, ctypes.c_size_t(len(data)), digest)
        assert digest.raw == hashlib.sha256(data).digest(), size


@pytest.mark.parametrize("steps", STEPS, ids=lambda steps: f"{steps.interpolation}-{steps.channels}-{steps.crop}")
def test_preprocessing_gives_the_bits_that_python_gives(steps: Any, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    libraries = {dtype: render_c(steps, dtype, tmp_path) for dtype in ("float32", "int8")}
    for vector in (vector for vector in vectors() if vector.steps == steps):
        assert preprocess(libraries[vector.spec.dtype], vector) == vector.expected, vector.rgba.shape


def render_c(steps: Any, dtype: str, folder: Path) -> Any:
    """The code for a model with such preprocessing; there is no model."""
    place = folder / dtype
    place.mkdir()
    spec = interface(steps, quantized=dtype == "int8")
    model = dataclasses.make_dataclass("Model", ["file", "inputs", "outputs"])("model.tflite", (spec,), (spec,))
    words_of = functools.partial(
        render_text,
        name=Name("net"),
        processing=Processing(steps),
        contents=dataclasses.make_dataclass("Bundle", ["release", "assets"])(1, "model"),
        model=model,
        model_size=1,
        digest=[0] * 32,
        array="0",
        **c.constants(model.inputs),
    )
    for name in ("_NAME_.h", "_NAME_.c", "_NAME__picture.c", "_NAME__sha256.c"):
        (place / name.replace("_NAME_", "net")).write_text(words_of(TEMPLATES / f"{name}.j2"), encoding="utf-8")
    return build(place, place / "net.so")


def preprocess(library: Any, vector: Vector) -> bytes:
    height, width, channels = vector.rgba.shape
    picture = Picture(vector.rgba.tobytes(), width, height, channels)
    library.net_workspace.restype = ctypes.c_size_t
    size = library.net_workspace(ctypes.byref(picture))
    workspace = ctypes.create_string_buffer(size)
    stored = ctypes.create_string_buffer(len(vector.expected))
    status = library.net_preprocess(ctypes.byref(picture), stored, workspace, ctypes.c_size_t(size))
    assert status == 0
    return bytes(stored.raw)


def test_a_large_model_is_mapped(bundles: dict[str, Bundle], pictures: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("edgecomp.bundle.platforms.c.ARRAY_LIMIT", 100)
    folder = make_bundle(pictures, "c", tmp_path / "out", name="cats").folder
    library = build(folder, tmp_path / "cats.so")
    model, mapped = folder / "model" / "model.tflite", ctypes.c_void_p()
    assert library.cats_map_model(bytes(model), ctypes.byref(mapped)) == 0
    assert ctypes.string_at(mapped, model.stat().st_size) == model.read_bytes()
    tampered, no_file = 3, 4
    model.write_bytes(model.read_bytes()[:-1] + b"\x01")
    assert library.cats_map_model(bytes(model), ctypes.byref(mapped)) == tampered
    assert library.cats_map_model(b"/nowhere", ctypes.byref(mapped)) == no_file


def test_a_model_without_pictures(made: Made, tmp_path: Path) -> None:
    folder = make_bundle(made.folder, "c", tmp_path / "out").folder
    library = build(folder, tmp_path / "task.so")
    run, difference = interpreter(folder / "model" / "model.tflite"), ctypes.c_float()
    assert library.task_self_test(RUN(run), None, ctypes.byref(difference)) == 0
    assert difference.value < 0.01


def test_two_bundles_in_one_program(pictures: Path, tmp_path: Path) -> None:
    sources: list[Path] = []
    for name in ("cats", "dogs"):
        sources += sorted(make_bundle(pictures, "c", tmp_path / name, name=name).folder.glob("*.c"))
    (tmp_path / "main.c").write_text(
        '#include "cats.h"\n#include "dogs.h"\n'
        "int main(void) {\n"
        "  return cats_check_model(g_cats_model_data, g_cats_model_data_size)\n"
        "      || dogs_check_model(g_dogs_model_data, g_dogs_model_data_size);\n}\n"
    )
    includes = [f"-I{tmp_path / name}" for name in ("cats", "dogs")]
    program = tmp_path / "program"
    subprocess.run(["gcc", *FLAGS, *includes, tmp_path / "main.c", *sources, "-lm", "-o", program], check=True)
    subprocess.run([program], check=True)


def test_a_type_that_c_has_no_code_for_is_refused() -> None:

    spec = dataclasses.replace(interface(STEPS[0], quantized=False), source_dtype="int64")
    contents = dataclasses.make_dataclass("Bundle", ["folder"])("result")
    with pytest.raises(InputError, match="real numbers of a fixed shape"):
        c._check(spec, contents)


@pytest.mark.bundle
def test_efficientnet_lite0(lite0: Path, photo: Path, tmp_path: Path) -> None:
    """Compiled, its model mapped, a photo classified, and the self-test passed."""
    folder = make_bundle(lite0, "c", tmp_path / "out", name="cats").folder
    library, model = build(folder, tmp_path / "cats.so"), folder / "model" / "model.tflite"
    run, difference, mapped = interpreter(model), ctypes.c_float(), ctypes.c_void_p()
    assert library.cats_map_model(bytes(model), ctypes.byref(mapped)) == 0
    assert library.cats_self_test(RUN(run), None, ctypes.byref(difference)) == 0
    assert difference.value < 0.01
    pixels = Image.open(photo).convert("RGB")
    picture = Picture(pixels.tobytes(), *pixels.size, 3)
    library.cats_workspace.restype = ctypes.c_size_t
    workspace = ctypes.create_string_buffer(library.cats_workspace(ctypes.byref(picture)))
    stored, scores, best = np.empty(3 * 224 * 224, np.float32), np.empty(1000, np.float32), (Ranked * 5)()
    places = [array.ctypes.data_as(ctypes.c_void_p) for array in (stored, scores)]
    size = ctypes.c_size_t(len(workspace))
    assert library.cats_preprocess(ctypes.byref(picture), places[0], workspace, size) == 0
    run(None, *((ctypes.c_void_p * 1)(place) for place in places))
    assert library.cats_rank(places[1], best, 5) == 5
    expected = answer_of(lite0, photo)
    assert [line.index for line in best] == [line.index for line in expected]
    assert np.allclose([line.score for line in best], [line.score for line in expected], rtol=1e-5)
