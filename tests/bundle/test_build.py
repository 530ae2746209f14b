"""What is in a bundle, whatever the platform, and what cannot be bundled."""

import base64
import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from bundle_fixtures import LABELS
from conftest import Made, Run
from PIL import Image

from edgecomp.artifact import load, to_stored
from edgecomp.bundle.build import Bundle, find_manifest, make_bundle, sign_bundle
from edgecomp.bundle.contents import SIGNATURE
from edgecomp.bundle.platform import Platform, available_platforms, load_platform
from edgecomp.bundle.signing import is_signed_by, read_public
from edgecomp.errors import InputError, OutputError, SourceError

PLATFORMS = available_platforms()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_file_is_in_the_manifest_with_its_hash(platform: str, bundles: dict[str, Bundle]) -> None:
    folder = bundles[platform].folder
    manifest = find_manifest(folder)
    document = json.loads(manifest.read_bytes())
    named = {manifest.parent / name: entry for name, entry in document["assets"].items()}
    named |= {folder / name: entry for name, entry in document["code"].items()}
    there = {path for path in folder.rglob("*") if path.is_file()}
    assert there == {*named, manifest, manifest.with_name(SIGNATURE)}
    for path, entry in named.items():
        assert entry == {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_it_is_signed_and_holds_no_private_key(platform: str, bundles: dict[str, Bundle], key: Path) -> None:
    folder = bundles[platform].folder
    manifest = find_manifest(folder)
    assert is_signed_by(read_public(key), manifest.with_name(SIGNATURE).read_bytes(), manifest.read_bytes())
    secret = read_secret(key)
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"PRIVATE KEY" not in content
            assert secret not in content
            assert base64.b64encode(secret) not in content


def read_secret(key: Path) -> bytes:
    from edgecomp.bundle.signing import read_private

    return read_private(key).private_bytes_raw()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_card_says_what_was_measured(platform: str, bundles: dict[str, Bundle]) -> None:
    card = (bundles[platform].folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "release 3" in card
    assert "Google Pixel 8" in card
    assert "4 classes with names" in card
    assert "its shorter side resized to 12 (bicubic), its centre cut out, 10 x 10" in card
    assert "| calibration data | 16 samples" in card
    for model in bundles[platform].document["models"]:
        assert f"| `{model['file']}` | not measured | " in card


def test_the_card_has_the_metrics(edgecomp: Run, made: Made, tmp_path: Path) -> None:
    answer = edgecomp("bundle", made.folder, "--platform", "web", "-o", tmp_path / "app")
    assert answer.exit_code == 0, answer.stderr
    card = (tmp_path / "app" / "MODEL_CARD.md").read_text(encoding="utf-8")
    verification = made.document["verification"]
    assert f"The original's metric is {verification['metrics']['metric']:.4f}." in card
    assert "| model | metric | same answer |" in card
    verdict = next(each for each in verification["verdicts"] if each["name"] == "model.onnx")
    assert f"| `model.onnx` | {verdict['metrics']['metric']:.4f} | " in card


@pytest.mark.parametrize("platform", PLATFORMS)
def test_everything_but_the_models_is_small(platform: str, bundles: dict[str, Bundle]) -> None:
    bundle = bundles[platform]
    assert bundle.overhead <= 60_000
    assert bundle.labels_size == len("".join(f"{label}\n" for label in LABELS).encode())


def test_the_preferred_format_comes_first(bundles: dict[str, Bundle]) -> None:
    models = bundles["web"].document["models"]
    assert [model["format"] for model in models] == ["tflite", "onnxruntime"]  # pixel-8 says so; MNN has no web runtime


def test_the_golden_picture_gives_what_was_recorded(bundles: dict[str, Bundle], pictures: Path) -> None:
    from bundle_fixtures import STEPS

    assets = find_manifest(bundles["web"].folder).parent
    golden = json.loads((assets / "golden.json").read_bytes())
    shape = (golden["picture"]["height"], golden["picture"]["width"], 3)
    pixels = np.frombuffer(base64.b64decode(golden["picture"]["rgb"]), np.uint8).reshape(shape)
    sample = STEPS.apply(Image.fromarray(pixels))
    for model in bundles["web"].document["models"]:
        artifact = load(assets / model["file"])
        expected = golden["models"][model["file"]]
        stored = to_stored(sample, artifact.inputs[0])
        assert [hashlib.sha256(stored.tobytes()).hexdigest()] == expected["inputs_sha256"]
        (output,) = artifact.predict(sample).values()
        recorded = np.frombuffer(base64.b64decode(expected["outputs"][0]["values"]), "<i2")
        away = np.abs(
            output.ravel()[:: expected["outputs"][0]["stride"]] - recorded * expected["outputs"][0]["scale"]
        ).max()
        assert away < 0.01 * expected["outputs"][0]["tolerance"]
    scores = [line["score"] for line in golden["answer"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)


def test_a_model_without_pictures_carries_its_inputs(made: Made, tmp_path: Path) -> None:
    bundle = make_bundle(made.folder, "web", tmp_path / "out")
    golden = json.loads((bundle.folder / "assets" / "golden.json").read_bytes())
    assert golden["picture"] is None
    (entry,) = golden["inputs"].values()
    assert (entry["dtype"], entry["shape"]) == ("float32", [1, 3, 6, 6])
    assert bundle.document["processing"]["labels"] is None
    assert not bundle.signed


def test_the_same_bundle_twice_has_the_same_bytes(pictures: Path, key: Path, tmp_path: Path) -> None:
    first, second = (make_bundle(pictures, "web", tmp_path / name, sign=key).folder for name in ("a", "b"))
    files = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in files)


def test_signing_later_gives_the_same_signature(pictures: Path, key: Path, tmp_path: Path) -> None:
    trusting = make_bundle(pictures, "web", tmp_path / "a", trust=key.with_name(f"{key.name}.pub"))
    signed = make_bundle(pictures, "web", tmp_path / "b", sign=key)
    assert not trusting.signed
    sign_bundle(trusting.folder, key)
    signatures = [find_manifest(made.folder).with_name(SIGNATURE).read_bytes() for made in (trusting, signed)]
    assert signatures[0] == signatures[1]


def test_the_command_says_what_it_made(edgecomp: Run, pictures: Path, key: Path, tmp_path: Path) -> None:
    arguments = ("--platform", "c", "--name", "Cats & Dogs", "--sign", key, "-o", tmp_path / "out")
    result = edgecomp("bundle", pictures, *arguments)
    assert result.exit_code == 0, result.stderr
    assert "cats_dogs, release 1, for c; signed" in result.stdout
    document = json.loads(edgecomp("bundle", pictures, "--platform", "c", "-o", tmp_path / "two", "--json").stdout)
    assert document["bundle"]["name"] == "cats"
    assert (tmp_path / "two" / "cats.h").is_file()


@pytest.mark.parametrize("name", ["123", "class", "", "猫", "Größe", "x" * 51, "__", "a" * 200])
def test_a_name_that_is_no_identifier_is_refused(name: str, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--name") as caught:
        make_bundle(pictures, "c", tmp_path / "out", name=name or "-")
    assert "bundle's name" in caught.value.subject
    assert not (tmp_path / "out").exists()


def test_an_unknown_platform_is_refused(edgecomp: Run, pictures: Path, tmp_path: Path) -> None:
    result = edgecomp("bundle", pictures, "--platform", "symbian", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "web" in result.stderr


def test_the_help_names_every_platform(edgecomp: Run) -> None:
    text = edgecomp("bundle", "--help").stdout
    assert all(platform in text for platform in PLATFORMS)


def test_nothing_is_overwritten(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nothing is overwritten"):
        make_bundle(pictures, "web", tmp_path)


@pytest.mark.parametrize("release", [0, -1])
def test_releases_count_from_one(release: int, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 or more"):
        make_bundle(pictures, "web", tmp_path / "out", release=release)


def test_a_format_without_a_runtime_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="artifacts that run on the web"):
        make_bundle(pictures, "web", tmp_path / "out", formats=["mnn"])


def test_an_artifact_that_was_changed_is_refused(pictures: Path, tmp_path: Path) -> None:
    folder = copy(pictures, tmp_path / "result")
    model = folder / "model.tflite"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    with pytest.raises(SourceError, match="the artifact that was verified"):
        make_bundle(folder, "web", tmp_path / "out")
    model.unlink()
    with pytest.raises(SourceError, match="no such file"):
        make_bundle(folder, "web", tmp_path / "out")


def test_a_model_beyond_the_limit_is_refused(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(load_platform("web"), asset_limit=1000)
    monkeypatch.setattr("edgecomp.bundle.build.load_platform", lambda name: small)
    with pytest.raises(SourceError, match="at most 1000 bytes"):
        make_bundle(pictures, "web", tmp_path / "out")


def test_preprocessing_that_does_not_fit_is_refused(pictures: Path, tmp_path: Path) -> None:
    folder = copy(pictures, tmp_path / "result")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["processing"]["preprocessing"]["crop"] = 9
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SourceError, match="the model's input"):
        make_bundle(folder, "web", tmp_path / "out")


@pytest.mark.parametrize("change", [{"schema": 99}, {"labels": 5}, {"preprocessing": {"colour": "red"}}])
def test_damaged_processing_is_refused(change: dict[str, object], pictures: Path, tmp_path: Path) -> None:
    folder = copy(pictures, tmp_path / "result")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["processing"] |= change
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="processing"):
        make_bundle(folder, "web", tmp_path / "out")


def copy(folder: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, to))


@pytest.mark.parametrize("name", PLATFORMS)
def test_every_platform_keeps_the_contract(name: str) -> None:
    platform = load_platform(name)
    assert isinstance(platform, Platform)
    assert platform.title
    assert platform.formats
    assert not Path(platform.assets).is_absolute()
