"""The Android bundle: its Kotlin on the JVM, its glue against stubs, and a real APK with it inside."""

from __future__ import annotations

import json
import re
import struct
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_fixtures import STEPS
from PIL import Image, ImageOps
from tools import HERE, NPM, TAMPERING, run, tampered, write_vectors
from vectors import Vector, interface

from edgecomp import manifest
from edgecomp.artifact import to_stored
from edgecomp.bundle.build import Bundle, archive_of, find_manifest, make_bundle
from edgecomp.bundle.signing import encoded, read_public, write_keys
from edgecomp.processing import Processing

ASSETS = "src/main/assets/edgecomp/cats"


def test_the_archive_holds_the_assets_stored(bundles: dict[str, Bundle]) -> None:
    path = archive_of(bundles["android"].folder)
    assert path is not None
    with zipfile.ZipFile(path) as archive:
        assert {"AndroidManifest.xml", "classes.jar", "R.txt", "proguard.txt"} <= set(archive.namelist())
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        for file in (bundles["android"].folder / ASSETS).iterdir():
            assert archive.read(f"assets/edgecomp/cats/{file.name}") == file.read_bytes()


def test_versions_come_from_the_target_and_the_models_are_not_compressed(bundles: dict[str, Bundle]) -> None:
    gradle = (bundles["android"].folder / "build.gradle.kts").read_text()
    assert "com.google.ai.edge.litert:litert:2.3.0" in gradle  # what pixel-8's profile says
    assert 'noCompress += listOf("tflite", "onnx", "ort", "mnn")' in gradle
    assert len((bundles["android"].folder / "README.md").read_text().splitlines()) <= 12


def java(*arguments: Any) -> str:
    return run("java", "-Xmx1g", "-XX:TieredStopAtLevel=1", *arguments)


@pytest.fixture(scope="module")
def classes(bundles: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bundle's Kotlin with the glue and the harness, compiled; the class path to run it."""
    folder = tmp_path_factory.mktemp("classes")
    stubs = sorted((HERE / "jvm" / "stubs").rglob("*.java"))
    run("javac", "-d", folder / "stubs", *stubs)
    with zipfile.ZipFile(NPM / "node_modules/com.github.asus4.onnxruntime/Plugins/Android/onnxruntime.aar") as archive:
        (folder / "onnxruntime.jar").write_bytes(archive.read("classes.jar"))
    compiler = NPM / "node_modules" / "kotlin-compiler" / "lib"
    sources = [path for part in ("main", "mnn") for path in (bundles["android"].folder / "src" / part).rglob("*.kt")]
    jars = ":".join(map(str, (folder / "stubs", folder / "onnxruntime.jar", compiler / "kotlin-stdlib.jar")))
    tool = ("-cp", compiler / "kotlin-compiler.jar", "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", "-no-stdlib")
    options = ("-Werror", "-no-reflect", "-cp", jars, "-d", folder / "cats.jar")
    java(*tool, *options, *sources, HERE / "jvm" / "Harness.kt")
    return f"{folder / 'cats.jar'}:{compiler / 'kotlin-stdlib.jar'}"


def harness(classes: str, *arguments: Any) -> str:
    return java("-cp", classes, "edgecomp.cats.HarnessKt", *arguments).strip()


@pytest.fixture(scope="module")
def trusted(key: Path) -> str:
    return encoded(read_public(key))


@pytest.mark.bundle
def test_preprocessing_gives_the_bits_that_python_gives(classes: str, tmp_path: Path) -> None:
    assert harness(classes, "vectors", write_vectors(tmp_path / "vectors.json")) == "[]"


@pytest.mark.bundle
def test_the_jvm_opens_it_and_gets_the_same_inputs(classes: str, trusted: str, bundles: dict[str, Bundle]) -> None:
    said = harness(classes, "open", bundles["android"].folder / ASSETS, trusted)
    assert said.startswith("release 3 model.tflite ")
    assert said.count("sameInputs=true") == 2  # LiteRT's and ONNX Runtime's
    assert "sameInputs=false" not in said
    wrong = harness(classes, "wrong", bundles["android"].folder / ASSETS, trusted)
    difference = re.search(r"difference=([\d.]+)", wrong)
    assert difference is not None, wrong
    assert float(difference[1]) == pytest.approx(1.5, abs=1e-6)


@pytest.mark.bundle
@pytest.mark.parametrize("what", TAMPERING)
def test_a_bundle_that_was_tampered_with_is_refused(
    what: str, classes: str, trusted: str, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    problem, words = TAMPERING[what]
    folder = tampered(bundles["android"].folder, ASSETS, what, tmp_path / "bundle")
    said = harness(classes, "open", folder / ASSETS, trusted)
    assert said.startswith(f"{problem.upper()}: ")
    assert words in said


@pytest.mark.bundle
def test_what_else_is_refused(classes: str, trusted: str, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    folder = bundles["android"].folder / ASSETS
    write_keys(tmp_path / "other")
    (tmp_path / "steps.json").write_text(json.dumps(asdict(STEPS)))
    assert harness(classes, "older", folder, trusted) == "RELEASE: cats is release 3, and 99 was opened before"
    assert harness(classes, "other", folder, trusted) == "MANIFEST: expected the bundle dogs, got cats"
    assert "SIGNATURE" in harness(classes, "open", folder, encoded(read_public(tmp_path / "other")))
    assert harness(classes, "fallback", folder, trusted).startswith("release 3 model.mnn")
    none = harness(classes, "none", folder, trusted)
    assert none.startswith("RUNTIME: none of the models could be loaded: model.tflite: java.lang.NoClassDefFoundError")
    assert "PICTURE: expected a picture of 1 to" in harness(classes, "empty", tmp_path)
    assert "PICTURE: expected a picture of 1 to" in harness(classes, "huge", tmp_path)
    turned = "[[1, 2, 3, 4, 5, 6], [5, 3, 1, 6, 4, 2], [6, 5, 4, 3, 2, 1], [2, 4, 6, 1, 3, 5], [1, 2, 3, 4, 5, 6]]"
    assert harness(classes, "turn", tmp_path) == turned


@pytest.mark.bundle
def test_orientations_are_those_of_exif(classes: str, tmp_path: Path) -> None:
    """As Pillow turns a picture of six different pixels."""
    expected = []
    for orientation in range(1, 9):
        picture = Image.fromarray(np.array([[1, 2], [3, 4], [5, 6]], np.uint8))
        picture.getexif()[0x0112] = orientation
        turned = ImageOps.exif_transpose(picture)
        expected.append([turned.width, *np.asarray(turned).ravel().tolist()])
    assert json.loads(harness(classes, "upright", tmp_path)) == expected


@pytest.mark.bundle
def test_it_is_fast(classes: str, trusted: str, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """Verification of 20 MB, and 12 megapixels beside the JDK's own averaging, in time of the processor."""
    for name in ("bundle.json", "bundle.sig"):
        (tmp_path / name).write_bytes((bundles["android"].folder / ASSETS / name).read_bytes())
    steps = {**asdict(STEPS), "resize": 224, "crop": 224, "interpolation": "bilinear"}
    (tmp_path / "steps.json").write_text(json.dumps(steps))
    found = json.loads(run("java", "-Xmx1g", "-cp", classes, "edgecomp.cats.HarnessKt", "speed", tmp_path, trusted))
    assert found["verify"] < 150
    assert found["ours"] < 1.5 * found["theirs"]


@pytest.mark.bundle
def test_an_apk_holds_the_models_stored_and_aligned(pictures: Path, key: Path, tmp_path: Path) -> None:
    """Two bundles in one app, assembled, aligned, signed, and read back."""
    assets, names = tmp_path / "assets", ("cats", "dogs")
    for name in names:
        bundle = make_bundle(pictures, "android", tmp_path / name, name=name, sign=key)
        source = bundle.folder / "src" / "main" / "assets"
        for path in (path for path in source.rglob("*") if path.is_file()):
            target = assets / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (tmp_path / "AndroidManifest.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="org.example.app">\n'
        '<uses-sdk android:minSdkVersion="26" android:targetSdkVersion="34"/>\n'
        '<application android:hasCode="false" android:label="App"/></manifest>\n'
    )
    apk = build_apk(tmp_path, assets)
    run("apksigner", "verify", "--min-sdk-version", "26", apk)
    run("zipalign", "-c", "4", apk)
    with zipfile.ZipFile(apk) as archive:
        for name in names:
            manifest = find_manifest(tmp_path / name)
            for model in json.loads(manifest.read_bytes())["models"]:
                info = archive.getinfo(f"assets/edgecomp/{name}/{model['file']}")
                assert info.compress_type == zipfile.ZIP_STORED
                assert data_offset(apk, info) % 4 == 0
                assert archive.read(info) == (manifest.parent / model["file"]).read_bytes()


def build_apk(folder: Path, assets: Path) -> Path:
    unaligned, apk, store = folder / "unaligned.apk", folder / "app.apk", folder / "store.p12"
    uncompressed = [word for suffix in ("tflite", "onnx", "ort", "mnn") for word in ("-0", suffix)]
    manifest, resources = folder / "AndroidManifest.xml", "/usr/share/android-framework-res/framework-res.apk"
    run("aapt", "package", "-f", *uncompressed, "-M", manifest, "-A", assets, "-I", resources, "-F", unaligned)
    run("zipalign", "-f", "4", unaligned, apk)
    password = ("-storepass", "password")
    name = ("-dname", "CN=Test", "-alias", "key", "-keyalg", "RSA", "-validity", "9999")
    run("keytool", "-genkeypair", "-keystore", store, "-storetype", "PKCS12", *password, *name)
    run("apksigner", "sign", "--ks", store, "--ks-pass", "pass:password", "--min-sdk-version", "26", apk)
    return apk


def data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: behind its local header, whose name and extra field have lengths of their own."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return info.header_offset + 30 + int(name) + int(extra)


def test_the_stubs_are_small() -> None:
    lines = sum(len(path.read_text().splitlines()) for path in (HERE / "jvm" / "stubs").rglob("*.java"))
    assert lines < 150


@pytest.mark.bundle
def test_efficientnet_lite0(classes: str, trusted: str, lite0: Path, photo: Path, key: Path, tmp_path: Path) -> None:
    """Opened on the JVM by the same code, which knows nothing of the model; a photo prepared to the bit."""
    folder = make_bundle(lite0, "android", tmp_path / "out", name="cats", sign=key).folder
    said = harness(classes, "open", folder / ASSETS, trusted)
    assert said.startswith("release 1 model.tflite ")
    assert said.count("sameInputs=true") == 2
    steps = Processing.from_dict(manifest.read(lite0)["processing"], "it").preprocessing
    assert steps is not None
    pixels = Image.open(photo).convert("RGB")
    spec = interface(steps, quantized=False)
    expected = to_stored(steps.apply(pixels), spec).tobytes()
    vector = Vector(steps, np.asarray(pixels.convert("RGBA")), spec, expected)
    (tmp_path / "vectors.json").write_text(json.dumps({"vectors": [vector.as_dict()]}))
    assert harness(classes, "vectors", tmp_path / "vectors.json") == "[]"
