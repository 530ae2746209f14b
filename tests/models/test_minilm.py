"""A sentence encoder in static int8: outlier channels are smoothed, so that the defaults keep their promises."""

from pathlib import Path

import pytest

import edgecomp

pytestmark = pytest.mark.models

TASK = Path(__file__).parents[2] / "examples" / "minilm.py"


def test_the_defaults_are_accepted_with_integer_matrices(tmp_path: Path) -> None:
    result = edgecomp.compress(TASK, "raspberry-pi-4b", tmp_path / "out")
    for verdict in result.verification.verdicts:
        assert (verdict.against_original[0].sqnr or 0) > 15, verdict.name
    (smoothed,) = [step["facts"] for step in result.manifest["provenance"] if step["name"] == "smooth"]
    assert smoothed["outputs"] >= 6
    islands = [each for artifact in result.manifest["artifacts"] for each in artifact["islands"]]
    reasons = {each["reason"] for each in islands if each["op_type"] == "MatMul"}
    assert reasons <= {"MNN computes MatMul in float"}, "products of two activations, in MNN alone"
