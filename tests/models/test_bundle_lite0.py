"""EfficientNet-Lite0 bundled for every platform: small, quick, and the same as what was compressed."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from edgecomp.bundle.build import make_bundle
from edgecomp.bundle.checking import verify_bundle
from edgecomp.pipeline import compress

pytestmark = pytest.mark.models

EXAMPLE = Path(__file__).parents[2] / "examples" / "efficientnet_lite0.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compress(EXAMPLE, "pixel-8", tmp_path_factory.mktemp("lite0") / "result").folder


@pytest.mark.parametrize("platform", ["android", "ios", "web", "c", "react-native"])
def test_a_bundle_is_small_and_computes_what_was_recorded(platform: str, result: Path, tmp_path: Path) -> None:
    bundle = make_bundle(result, platform, tmp_path / platform, name="lite0")
    assert bundle.overhead <= 60_000
    found = verify_bundle(bundle.folder)
    assert not found.violations
    assert max(found.differences.values()) < 0.01


def seconds_of_a_processor(command: list[str | Path]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_command_is_quick(result: Path, tmp_path: Path) -> None:
    """About 2 s of a free processor; one that others use too takes more for the same work: twice that is allowed."""
    bundle = [sys.executable, "-m", "edgecomp", "bundle", result, "--platform", "web", "-o"]
    assert min(seconds_of_a_processor([*bundle, tmp_path / str(turn)]) for turn in range(3)) < 4
