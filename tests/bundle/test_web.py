"""The web bundle: its TypeScript, in Node with ONNX Runtime, and in headless Chromium with it and LiteRT.js."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_fixtures import LABELS, STEPS
from conftest import Made
from PIL import Image
from tools import HERE, NPM, TAMPERING, answer_of, browse, run, tampered, upright, write_vectors

from edgecomp.artifact import load
from edgecomp.bundle.build import Bundle, make_bundle
from edgecomp.bundle.platform import shared_folder
from edgecomp.bundle.signing import encoded, read_public, write_keys
from edgecomp.processing import Processing

pytestmark = pytest.mark.bundle


def node(command: str, folder: Path, name: str = "cats", *more: Any) -> Any:
    return json.loads(run("node", HERE / "npm" / "open.mjs", command, folder, name, *more))


def test_the_committed_javascript_is_what_the_typescript_says(tmp_path: Path) -> None:
    source = shared_folder("typescript")
    assert {path.name for path in source.iterdir()} == {"src", "dist", "tsconfig.json"}
    compiler = NPM / "node_modules" / ".bin" / "tsc"
    run(compiler, "-p", source, "--outDir", tmp_path, "--removeComments", "--declaration", "false")
    run(compiler, "-p", source, "--outDir", tmp_path, "--emitDeclarationOnly")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in (source / "dist").iterdir()
    }


def test_preprocessing_gives_the_bits_that_python_gives(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    assert node("vectors", bundles["web"].folder, "cats", write_vectors(tmp_path / "vectors.json")) == []


def test_sha256_without_webcrypto(bundles: dict[str, Bundle]) -> None:
    messages = [bytes(index * 7 & 255 for index in range(size)) for size in (*range(130), 1000)]
    assert node("hashes", bundles["web"].folder) == [hashlib.sha256(message).hexdigest() for message in messages]


def test_pictures_that_are_none(bundles: dict[str, Bundle]) -> None:
    assert node("pictures", bundles["web"].folder) == ["picture"] * 5


def test_node_computes_what_was_recorded(bundles: dict[str, Bundle]) -> None:
    found = node("open", bundles["web"].folder)
    assert found["model"] == "model.onnx"
    (check,) = found["checks"]
    assert check["sameInputs"]
    assert check["difference"] < 0.01
    assert [line["label"] for line in found["answer"]] == [line["label"] for line in found["golden"]]
    assert np.allclose(*([line["score"] for line in found[part]] for part in ("answer", "golden")), atol=0.02)


def test_a_model_without_pictures(made: Made, tmp_path: Path) -> None:
    found = node("open", make_bundle(made.folder, "web", tmp_path / "out").folder, "task")
    assert found["checks"][0]["sameInputs"]
    assert found["checks"][0]["difference"] < 0.01


@pytest.mark.parametrize("what", TAMPERING)
def test_a_bundle_that_was_tampered_with_is_refused(what: str, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    problem, words = TAMPERING[what]
    found = node("open", tampered(bundles["web"].folder, "assets", what, tmp_path / "bundle"))
    assert found["problem"] == problem
    assert words in found["message"]


def test_another_key_is_refused(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    write_keys(tmp_path / "other")
    found = node("open", bundles["web"].folder, "cats", encoded(read_public(tmp_path / "other")))
    assert found["problem"] == "signature"


def test_an_older_release_is_refused(bundles: dict[str, Bundle], key: Path) -> None:
    found = node("open", bundles["web"].folder, "cats", encoded(read_public(key)), 4)
    assert found == {"problem": "release", "message": "release: cats is release 3, and 4 was opened before"}


def test_without_a_runtime_every_reason_is_given(bundles: dict[str, Bundle]) -> None:
    found = node("none", bundles["web"].folder)
    assert found["problem"] == "runtime"
    assert "model.tflite: no WebAssembly; model.onnx: no runtime for it" in found["message"]


def test_types_of_the_packages_fit(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    app = shutil.copytree(bundles["web"].folder, tmp_path / "app")
    (app / "node_modules").symlink_to(NPM / "node_modules")
    (app / "app.ts").write_text(
        'import * as litert from "@litertjs/core";\n'
        'import * as web from "onnxruntime-web";\n'
        'import * as node from "onnxruntime-node";\n'
        'import { liteRt, onnxRuntime, openCats, pictureFrom, type Ranked } from "./cats.js";\n'
        "export async function answer(file: File): Promise<Ranked[]> {\n"
        "  const bundle = await openCats([liteRt(litert), onnxRuntime(web), onnxRuntime(node)]);\n"
        "  return bundle.classify(await pictureFrom(file));\n}\n"
    )
    options = ("--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler")
    types = ("--target", "es2022", "--types", "node", "--typeRoots", NPM / "node_modules" / "@types")
    run(NPM / "node_modules" / ".bin" / "tsc", *options, *types, app / "app.ts")


def test_react_native_s_loader_is_typed(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """onnxruntime-web stands in for onnxruntime-react-native: both give onnxruntime-common's interface."""
    app = shutil.copytree(bundles["react-native"].folder, tmp_path / "app")
    (app / "node_modules").symlink_to(NPM / "node_modules")
    (app / "app.ts").write_text(
        'import * as ort from "onnxruntime-web";\n'
        'import { openCats } from "./cats.js";\n'
        'export const opened = openCats(ort, async () => "");\n'
    )
    options = ("--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler")
    run(NPM / "node_modules" / ".bin" / "tsc", *options, "--target", "es2022", "--types", "", app / "app.ts")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One picture in the forms that people have them; PNG keeps every bit of it."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(5)
    small = Image.fromarray(random.integers(0, 255, (5, 7, 3), np.uint8)).resize((90, 60), Image.Resampling.BICUBIC)
    forms = {
        "rgb.png": small,
        "alpha.png": small.convert("RGBA"),
        "gray.png": small.convert("L"),
        "palette.png": small.convert("P", palette=Image.Palette.ADAPTIVE),
        "cmyk.jpg": small.convert("CMYK"),
        "turned.jpg": small.transpose(Image.Transpose.ROTATE_90),
    }
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it 90 degrees clockwise
    for name, picture in forms.items():
        options = {"exif": exif} if name == "turned.jpg" else {}
        picture.save(folder / name, **options, **({"quality": 100, "subsampling": 0} if "jpg" in name else {}))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("runtime", ["tflite", "onnxruntime"])
def test_the_page_shows_predictions_on_pictures(
    runtime: str, bundles: dict[str, Bundle], photos: dict[str, Path], tmp_path: Path
) -> None:
    names = sorted(set(photos) - {"broken.jpg"})
    pictures = [photos[name] for name in names]
    found = browse(bundles["web"].folder, tmp_path, f"?runtime={runtime}", *pictures)
    model = {"tflite": "model.tflite", "onnxruntime": "model.onnx"}[runtime]
    assert f"Running {model}, release 3." in found["state"]
    (check,) = found["checks"]
    assert check["sameInputs"]
    assert check["difference"] < 0.01
    artifact = load(bundles["web"].folder / "assets" / model)
    for name, answer in zip(names, found["answers"], strict=True):
        assert {line["label"] for line in answer} == set(LABELS)
        (scores,) = artifact.predict(STEPS.apply(upright(photos[name]))).values()
        expected = {line.label: line.score for line in Processing(labels=LABELS).answer(scores)}
        # Decoders of JPEG and conversions of CMYK differ; PNG is the same everywhere.
        tolerance = 0.001 if name.endswith("png") else 0.2
        for line in answer:
            assert abs(line["score"] - expected[line["label"]]) < tolerance, (name, answer, expected)
    picture = Image.open(tmp_path / "screenshot.png")
    assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 100  # text, a picture and meters


def test_the_page_says_what_is_wrong(bundles: dict[str, Bundle], photos: dict[str, Path], tmp_path: Path) -> None:
    found = browse(bundles["web"].folder, tmp_path, "?runtime=onnxruntime", photos["broken.jpg"])
    assert found["state"].startswith("picture: the browser cannot decode it")
    folder = tampered(bundles["web"].folder, "assets", "swapped labels", tmp_path / "bundle")
    assert browse(folder, tmp_path, "")["state"] == "hash: not the files that the bundle was made of: labels.txt"


@pytest.mark.parametrize("runtime", ["tflite", "onnxruntime"])
def test_efficientnet_lite0(runtime: str, lite0: Path, photo: Path, tmp_path: Path) -> None:
    """A photo, as a person picks it: PNG, because decoders of JPEG differ."""
    folder = make_bundle(lite0, "web", tmp_path / "out", name="lite0").folder
    Image.open(photo).convert("RGB").save(tmp_path / "photo.png")
    found = browse(folder, tmp_path, f"?runtime={runtime}", tmp_path / "photo.png")
    (check,), (answer,) = found["checks"], found["answers"]
    assert check["sameInputs"]
    assert check["difference"] < 1
    expected = answer_of(lite0, photo, {"tflite": "model.tflite", "onnxruntime": "model.onnx"}[runtime])
    assert answer[0]["index"] == expected[0].index
    assert answer[0]["score"] == pytest.approx(expected[0].score, abs=0.05)
