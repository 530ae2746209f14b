from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from edgecomp.device_scripts import bench
from edgecomp.devices import results
from edgecomp.devices.device import Device
from edgecomp.devices.results import ArtifactResult, DeviceResult
from edgecomp.errors import OutputError, SourceError

Run = Callable[..., Result]


def timed(factor: float, seed: int) -> dict[str, Any]:
    samples = (factor * np.random.default_rng(seed).normal(10, 0.1, 60)).tolist()
    return {
        "schema": 1,
        "latency_ms": bench.summarize(samples),
        "samples_ms": samples,
        "steady_state": {"steady": True, "verdict": "steady"},
        "golden": None,
    }


def counted(count: int) -> dict[str, Any]:
    return {"emulated_instructions": {"median": count}, "golden": None}


def document(folder: Path, name: str, result: dict[str, Any] | None, started: str = "2026-01-02T03:04:05Z") -> Path:
    entry = ArtifactResult("m.tflite", "tflite", "int8", "0" * 64, result)
    return results.store(folder, DeviceResult(Device(name, "local"), {}, (entry,), started=started))


def compare(edgecomp: Run, before: Path, after: Path, *options: object, code: int) -> dict[str, Any]:
    result = edgecomp("bench", "--compare", before, after, *options, "--json")
    assert result.exit_code == code, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_a_slower_run_fails_beyond_the_tolerance_and_a_like_one_does_not(edgecomp: Run, tmp_path: Path) -> None:
    before, same, slower = (document(tmp_path, "pi", timed(f, s)) for s, f in enumerate((1.0, 1.0, 1.1)))
    (entry,) = compare(edgecomp, before, slower, code=1)["artifacts"]
    assert 1.05 < entry["comparison"]["low"] < 1.1 < entry["comparison"]["high"] < 1.15
    compare(edgecomp, before, same, code=0)
    compare(edgecomp, before, slower, "--tolerance", 0.2, code=0)
    compare(edgecomp, slower, before, code=0)


def test_counts_are_compared_as_they_are(edgecomp: Run, tmp_path: Path) -> None:
    before, after = document(tmp_path, "a", counted(1000)), document(tmp_path, "b", counted(1060))
    (entry,) = compare(edgecomp, before, after, code=1)["artifacts"]
    assert (entry["unit"], entry["comparison"]["ratio"]) == ("emulated instructions", 1.06)
    times = document(tmp_path, "c", timed(1, 0))
    assert "one of each" in compare(edgecomp, before, times, code=2)["actual"]


def test_measurements_without_an_artifact_in_common_are_refused(edgecomp: Run, tmp_path: Path) -> None:
    before, failed = document(tmp_path, "a", timed(1, 0)), document(tmp_path, "b", None)
    assert compare(edgecomp, before, failed, code=2)["expected"].startswith("at least one artifact")


def test_nothing_is_overwritten_though_the_clock_jumps_back(tmp_path: Path) -> None:
    paths = [document(tmp_path, "pi", counted(index)) for index in range(3)]  # all at the same second
    older = document(tmp_path, "pi", counted(3), started="1970-01-01T00:00:00Z")
    assert [results.read(path)["artifacts"][0]["result"] for path in (*paths, older)] == [*map(counted, range(4))]
    assert len(list((tmp_path / results.FOLDER).iterdir())) == 4


@pytest.mark.parametrize("cut", [0, 1, 10, -2])
def test_a_truncated_result_is_refused(cut: int, tmp_path: Path) -> None:
    path = document(tmp_path, "pi", counted(1))
    path.write_text(path.read_text()[:cut])
    with pytest.raises(SourceError, match="complete document"):
        results.read(path)


@pytest.mark.parametrize(
    ("change", "problem"), [({"schema": 2}, "schema 2"), ({"artifacts": [{}]}, "file"), ({"device": {}}, "name")]
)
def test_a_result_of_another_version_is_refused(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    path = document(tmp_path, "pi", counted(1))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SourceError, match=problem):
        results.read(path)


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / results.FOLDER).write_text("a file")
    with pytest.raises(OutputError, match="measurements"):
        document(tmp_path, "pi", counted(1))
