"""A result folder proves itself again, and what was tampered with does not run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Made

from edgecomp.errors import DataError, SourceError
from edgecomp.verification.result_folder import verify_folder


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "copy"))


def change(folder: Path, **arrays: object) -> None:
    with np.load(folder / "golden.npz") as archive:
        content = dict(archive) | arrays
    np.savez(folder / "golden.npz", **{name: array for name, array in content.items() if array is not None})


def test_a_sound_folder_agrees_with_its_original_and_itself(made: Made) -> None:
    found = verify_folder(made.folder)
    assert found.violations == ()
    assert found.samples == 1
    names = [entry["file"] for entry in made.document["artifacts"]]
    assert [(pair.reference, pair.candidate) for pair in found.pairs] == [
        *(("original", name) for name in names),
        (names[0], names[1]),
        (names[0], names[2]),
        (names[1], names[2]),
    ]
    assert all(entry.max_difference <= 3 for pair in found.pairs for entry in pair.comparisons if entry.step)


def test_more_data_can_be_given(copy: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "more.npz", input=np.random.default_rng(0).random((7, 3, 6, 6), np.float32))
    found = verify_folder(copy, data=str(tmp_path / "more.npz"))
    assert found.samples == 8
    assert found.pairs[-1].comparisons[0].samples == 8


def test_data_that_do_not_fit_are_an_error(copy: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "more.npz", input=np.ones((7, 3, 5, 5), np.float32))
    with pytest.raises(DataError, match="5x5"):
        verify_folder(copy, data=str(tmp_path / "more.npz"))


def test_a_changed_artifact_is_reported_and_not_run(copy: Path) -> None:
    path = copy / "model.tflite"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    found = verify_folder(copy)
    assert found.violations == ("model.tflite is not the file that was verified: its SHA-256 differs",)
    assert not any("model.tflite" in (pair.reference, pair.candidate) for pair in found.pairs)


def test_another_result_than_the_recorded_one_is_reported(copy: Path) -> None:
    with np.load(copy / "golden.npz") as archive:
        recorded, step = archive["model.onnx/outputs/0"], archive["model.onnx/steps/0"]
    change(copy, **{"model.onnx/outputs/0": recorded + np.float32(20 * step)})
    (violation,) = verify_folder(copy).violations
    assert violation.startswith("model.onnx: output ")
    assert "20.0 steps from what was recorded" in violation


def test_a_missing_artifact_is_named(copy: Path) -> None:
    (copy / "model.mnn").unlink()
    with pytest.raises(SourceError, match=r"model\.mnn\n"):
        verify_folder(copy)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 truncated", None])
def test_a_missing_or_damaged_golden_file_is_named(copy: Path, damage: bytes | None) -> None:
    (copy / "golden.npz").unlink()
    if damage is not None:
        (copy / "golden.npz").write_bytes(damage)
    with pytest.raises(SourceError, match=r"golden\.npz"):
        verify_folder(copy)


def test_a_golden_file_of_another_model_is_named(copy: Path) -> None:
    change(copy, **{"model.mnn/outputs/0": None})
    with pytest.raises(SourceError, match=r"no array 'model\.mnn/outputs/0'"):
        verify_folder(copy)


def test_a_manifest_cannot_point_outside(copy: Path) -> None:
    content = json.loads((copy / "manifest.json").read_text())
    content["artifacts"][0]["file"] = "../copy/model.tflite"
    (copy / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(SourceError, match="artifacts in the same folder"):
        verify_folder(copy)
