"""The tarball for boards: unpacked and run as a board would, on this PC."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from edgecomp.bundle.build import Bundle, archive_of


@pytest.fixture
def unpacked(bundles: dict[str, Bundle], tmp_path: Path) -> Path:
    path = archive_of(bundles["linux-arm64"].folder)
    assert path is not None
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "cats"


def self_test(folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [folder / "self_test.sh"]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path}, check=False)


def test_the_board_checks_itself(unpacked: Path) -> None:
    ended = self_test(unpacked)
    assert ended.returncode == 0, ended.stderr
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["model"]["file"] for line in found] == ["model.tflite", "model.mnn", "model.onnx"]
    assert all(line["golden"]["agrees"] for line in found)


def test_another_model_is_refused(unpacked: Path) -> None:
    content = (unpacked / "model.tflite").read_bytes()
    (unpacked / "model.tflite").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    ended = self_test(unpacked)
    assert ended.returncode == 1
    assert "model.tflite" in ended.stderr
