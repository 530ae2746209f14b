"""The manifest of a result folder, and manifests that cannot be trusted."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Made

from edgecomp import manifest
from edgecomp.errors import SourceError


def save(folder: Path, content: Any) -> None:
    (folder / manifest.FILE).write_text(content if isinstance(content, str) else json.dumps(content))


def test_it_says_what_the_folder_holds(made: Made) -> None:
    content = manifest.read(made.folder)
    assert [entry["format"] for entry in content["artifacts"]] == ["tflite", "mnn", "onnxruntime"]
    for entry in content["artifacts"]:
        path = made.folder / entry["file"]
        assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert entry["size"] == path.stat().st_size
        assert entry["inputs"][0]["dtype"] == "float32"
    assert (content["schema"], content["source"], content["target"]) == (1, "task", "raspberry-pi-4b")
    assert content["precision"] == "int8"
    assert content["data"]["calibration"]["samples"] == 20
    assert content["data"]["evaluation"]["samples"] == 12
    assert content["verification"]["tolerance"]["agreement"] == 0.95
    assert [step["name"] for step in content["provenance"]][-1] == "quantize"


def test_it_holds_neither_a_path_nor_a_date(made: Made) -> None:
    text = (made.folder / manifest.FILE).read_text()
    assert str(made.folder.parent) not in text
    assert "20" + "26-" not in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError: 'schema'"),
        ({"schema": 99, "artifacts": []}, "schema 99"),
        ({"schema": 1}, "KeyError: 'artifacts'"),
        ({"schema": 1, "artifacts": ["model.tflite"]}, "TypeError"),
        ({"schema": 1, "artifacts": [{"sha256": ""}]}, "KeyError: 'file'"),
        ({"schema": 1, "artifacts": [{"file": "model.tflite"}]}, "KeyError: 'sha256'"),
        ({"schema": 1, "artifacts": [{"file": "../../etc/passwd", "sha256": ""}]}, "an artifact '../../etc/passwd'"),
        ({"schema": 1, "artifacts": [{"file": "/etc/passwd", "sha256": ""}]}, "an artifact '/etc/passwd'"),
        ({"schema": 1, "artifacts": [{"file": 5, "sha256": ""}]}, "TypeError"),
    ],
)
def test_damage_and_malice_are_named(content: Any, words: str, tmp_path: Path) -> None:
    save(tmp_path, content)
    with pytest.raises(SourceError, match=words) as caught:
        manifest.read(tmp_path)
    assert caught.value.subject == str(tmp_path / manifest.FILE)


@pytest.mark.parametrize(
    ("name", "actual"), [("nothing", "No such file or directory"), ("file", "a file, and no folder")]
)
def test_a_place_without_one_is_named(name: str, actual: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError) as caught:
        manifest.read(tmp_path / name)
    assert caught.value.actual == actual
