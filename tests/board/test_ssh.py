"""The whole path to a Raspberry Pi: `edgecomp bench` over OpenSSH, on real ARM code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from emulation import Board, running
from typer.testing import Result

pytestmark = pytest.mark.board
Run = Callable[..., Result]
FEATURES = {"cortex-a72": "crc32", "cortex-a76": "asimddp"}


@pytest.fixture(scope="module", params=["cortex-a72", "cortex-a76"])
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    """A Raspberry Pi 4 and a Raspberry Pi 5."""
    with running("arm64", request.param) as started:
        yield started


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's result folder: three int8 artifacts."""
    folder = tmp_path_factory.mktemp("digits") / "digits"
    subprocess.run(["edgecomp", "demo", "-o", folder], check=True, capture_output=True)
    return folder


def measure(edgecomp: Run, board: Board, folder: Path, *options: str) -> dict:
    url = f"ssh://{board.name}"
    result = edgecomp("bench", folder, "--device", url, "--ssh-config", board.config, *options, "--json")
    assert result.exit_code == 0, result.stderr
    (device,) = json.loads(result.stdout)["devices"]
    return device


def test_all_three_artifacts_agree_with_golden_on_the_board(edgecomp: Run, board: Board, digits: Path) -> None:
    device = measure(edgecomp, board, digits, "--runs", "3", "--warmup", "0")
    assert device["device"]["machine"] == "aarch64"
    assert {entry["format"] for entry in device["artifacts"]} == {"tflite", "onnxruntime", "mnn"}
    for entry in device["artifacts"]:
        result = entry["result"]
        assert result["golden"]["agrees"], entry["file"]
        assert result["model"]["sha256"] == entry["sha256"]
        assert result["machine"]["cpu"]["model"].lower() == board.name
        assert FEATURES[board.name] in result["machine"]["cpu"]["features"]
    assert board.run("ls", "/home/pi/.cache/edgecomp").split() == ["files"]  # no job is left

    again = measure(edgecomp, board, digits, "--runs", "1", "--warmup", "0", "--formats", "tflite")
    assert (device["sent_bytes"] > 0, again["sent_bytes"]) == (True, 0)
