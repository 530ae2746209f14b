"""The boards that the tests share, and what they measure there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from emulation import Board, running

ROOT = Path(__file__).parents[2]
Run = Callable[..., object]


@pytest.fixture(scope="session", params=["cortex-a72", "cortex-a76"])
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    """A Raspberry Pi 4 and a Raspberry Pi 5."""
    with running("arm64", request.param) as started:
        yield started


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's result folder: three int8 artifacts."""
    folder = tmp_path_factory.mktemp("digits") / "digits"
    subprocess.run(["edgecomp", "demo", "-o", folder], check=True, capture_output=True)
    return folder
