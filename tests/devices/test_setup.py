"""Wheels for devices: found on this machine, of the device's kind, without a network."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Made
from loopback import LoopbackBoard, start
from typer.testing import Result

from edgecomp.devices import setup
from edgecomp.devices.device import Device
from edgecomp.errors import PromiseError
from edgecomp.target import load_target

Run = Callable[..., Result]
DEVICE = Device("pi", "ssh://pi")
PI: dict[str, Any] = {"python": "3.11.2", "machine": "aarch64", "userland_bits": 64, "libc": "glibc-2.36"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def wheel(folder: Path, name: str, version: str, tag: str) -> None:
    """A wheel with nothing in it."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{facts}-{tag}.whl", "w") as archive:
        archive.writestr(f"{facts}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{facts}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{facts}.dist-info/RECORD", "")


def names(found: list[Path]) -> list[str]:
    return [path.name.partition("-")[0] for path in found]


def test_what_is_there_is_taken_without_a_network(tmp_path: Path) -> None:
    place = tmp_path / "python3.11-aarch64"
    wheel(place, "pip", "26", "py3-none-any")
    wheel(place, "onnxruntime", "1.31.1", "cp311-cp311-manylinux_2_28_aarch64")
    wheel(place, "left-over", "1", "py3-none-any")
    assert names(setup.fetch(tmp_path, DEVICE, PI, ["onnxruntime==1.31.1"])) == ["onnxruntime", "pip"]


def test_a_32_bit_userland_on_a_64_bit_kernel_gets_wheels_of_32_bits(tmp_path: Path) -> None:
    place = tmp_path / "python3.11-armv7l"
    wheel(place, "pip", "26", "py3-none-any")
    wheel(place, "tflite-runtime", "2.14.0", "cp311-cp311-manylinux_2_34_armv7l")
    wanted = setup.requirements(load_target("generic-armv7"), ["tflite", "onnxruntime", "mnn"])
    assert wanted == ["tflite-runtime==2.14.0"]
    assert names(setup.fetch(tmp_path, DEVICE, PI | {"userland_bits": 32}, wanted)) == ["pip", "tflite_runtime"]


def test_a_wheel_that_is_newer_than_the_boards_libc_is_none(tmp_path: Path) -> None:
    place = tmp_path / "python3.11-aarch64"
    wheel(place, "pip", "26", "py3-none-any")
    wheel(place, "onnxruntime", "1.31.1", "cp311-cp311-manylinux_2_28_aarch64")
    with pytest.raises(PromiseError, match=r"onnxruntime for Python 3\.11 on aarch64") as caught:
        setup.fetch(tmp_path, DEVICE, PI | {"libc": "glibc-2.27"}, ["onnxruntime"])
    assert "put the wheels there" in caught.value.cure


def test_a_version_that_is_known_to_be_bad_is_not_asked_for() -> None:
    profile = load_target("raspberry-pi-4b")
    for requirement in setup.requirements(profile, ["onnxruntime"]):
        assert "1.21.0" not in requirement.replace("!=1.21.0", "")


def test_a_setup_that_fails_says_what_the_board_said(
    edgecomp: Run, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board: LoopbackBoard = start(tmp_path, monkeypatch)
    venv = 'case "$*" in *"-m venv"*) echo "ensurepip is not available" >&2; exit 1;; esac'
    board.program("python3", f'#!/bin/sh\n{venv}\nexec {sys.executable} "$@"\n')
    result = edgecomp("bench", made.folder, "--device", "ssh://board", "--setup", "--json")
    assert result.exit_code == 2, result.output
    assert "ensurepip is not available" in result.output
    assert "sudo apt install python3-venv" in result.output
    assert not (board.home / ".local/share/edgecomp").exists()  # nothing half-made is left
