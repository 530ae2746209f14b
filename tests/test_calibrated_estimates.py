"""Estimates that go by what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Made
from typer.testing import Result

from edgecomp.devices import results
from edgecomp.devices.device import Device
from edgecomp.devices.results import ArtifactResult, DeviceResult
from edgecomp.estimation.calibration import SPREAD
from edgecomp.manifest import sha256

Run = Callable[..., Result]


def measurement(folder: Path, made: Made, milliseconds: float, target: str = "raspberry-pi-4b", **changes: Any) -> Path:
    """A kept result of the TFLite artifact on a Raspberry Pi 4."""
    (folder / "model.tflite").write_bytes((made.folder / "model.tflite").read_bytes())
    machine = {"machine": "aarch64", "cpu": {"model": "Cortex-A72"}}
    result = {"latency_ms": {"p50": milliseconds}, "settings": {"threads": 1}, "machine": machine} | changes
    entry = ArtifactResult("model.tflite", "tflite", "int8", sha256(folder / "model.tflite"), result)
    return results.store(folder, DeviceResult(Device("pi", "ssh://pi"), {}, (entry,), started="1", target=target))


def times(edgecomp: Run, made: Made, *words: object, code: int = 0) -> Any:
    result = edgecomp("estimate", made.folder, "--json", *words)
    assert result.exit_code == code, result.output
    document = json.loads(result.stdout)
    return document if code else document["artifacts"]


def test_an_estimate_goes_by_what_the_same_kind_took_there(edgecomp: Run, made: Made, tmp_path: Path) -> None:
    before = times(edgecomp, made)
    paths = [measurement(tmp_path, made, milliseconds) for milliseconds in (2.0, 3.0)]
    after = times(edgecomp, made, *(word for path in paths for word in ("--results", path)))
    assert after["model.tflite"]["milliseconds"] == pytest.approx({"low": 2.0 / SPREAD, "high": 3.0 * SPREAD})
    assert after["model.tflite"]["measurements"] == 2
    for other in ("model.onnx", "model.mnn"):  # kernels of other runtimes: nothing is known of them
        assert after[other] == before[other]
    shown = edgecomp("estimate", made.folder, "--results", paths[0]).stdout
    assert "ms*" in shown
    assert "other models" in shown


def test_a_core_without_documented_facts_gets_a_time_too(edgecomp: Run, made: Made, tmp_path: Path) -> None:
    machine = {"machine": "aarch64", "cpu": {"model": None}}
    path = measurement(tmp_path, made, 5.0, "iphone-15", machine=machine)
    assert times(edgecomp, made, "--target", "iphone-15")["model.tflite"]["milliseconds"] is None
    after = times(edgecomp, made, "--target", "iphone-15", "--results", path)
    assert after["model.tflite"]["milliseconds"]["low"] == pytest.approx(5.0 / SPREAD)


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"threads": 4}},
        {"machine": {"machine": "x86_64", "cpu": {"model": "AMD EPYC"}}},
        {"machine": {"machine": "aarch64", "cpu": {"model": "Cortex-A76"}}},
        {"target": "raspberry-pi-5"},
    ],
)
def test_a_measurement_of_something_else_does_not_serve(
    changes: dict[str, Any], edgecomp: Run, made: Made, tmp_path: Path
) -> None:
    path = measurement(tmp_path, made, 2.0, **changes)
    assert "of another target or machine" in times(edgecomp, made, "--results", path, code=2)["actual"]
    (tmp_path / "model.tflite").unlink()
    assert "gone" in times(edgecomp, made, "--results", measurement_without(path), code=2)["actual"]


def measurement_without(path: Path) -> Path:
    """The same of a Raspberry Pi 4 on one thread, whose artifact is gone."""
    document = json.loads(path.read_text())
    document["target"] = "raspberry-pi-4b"
    document["artifacts"][0]["result"] |= {
        "settings": {"threads": 1},
        "machine": {"machine": "aarch64", "cpu": {"model": "Cortex-A72"}},
    }
    path.write_text(json.dumps(document))
    return path
