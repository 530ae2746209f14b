"""Several boards at once: they have to meet, so that one that waits for another never ends."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from conftest import Made
from loopback import SSH, Run

BOARDS = 8

#: A runtime that goes on when all boards have come this far.
MEETING = """
import os, pathlib, time
MET = pathlib.Path(os.environ["MEETING"])
class SessionOptions: pass
class Value:
    name, type, shape = "x", "tensor(float)", [1]
class InferenceSession:
    def __init__(self, *arguments, **options): pass
    def get_inputs(self): return [Value]
    def get_outputs(self): return [Value]
    def run(self, names, feeds):
        (MET / os.environ["HOME"].replace("/", "_")).touch()
        end = time.monotonic() + 120
        while len(list(MET.iterdir())) < {count}:
            assert time.monotonic() < end, "the others did not come"
            time.sleep(0.02)
        return [feeds["x"]]
"""


def test_eight_boards_are_measured_at_the_same_time(
    edgecomp: Run, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, site, met = tmp_path / "programs", tmp_path / "site", tmp_path / "met"
    for folder in (programs, site, met):
        folder.mkdir()
    (site / "onnxruntime.py").write_text(MEETING.replace("{count}", str(BOARDS)))
    homes = (
        f'for host; do [ "$host" != -- ] || {{ shift; break; }}; shift; done; home={tmp_path}/$1; mkdir -p $home/tmp'
    )
    (programs / "ssh").write_text(SSH.format(before=homes, home="$home"))
    (programs / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for path in programs.iterdir():
        path.chmod(0o755)
    for name, value in {"PATH": f"{programs}:/usr/bin:/bin", "PYTHONPATH": str(site), "MEETING": str(met)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    farm = tmp_path / "farm.toml"
    farm.write_text("".join(f'[devices.pi{n}]\nurl = "ssh://pi{n}"\n' for n in range(BOARDS)))
    model = shutil.copy(made.folder / "model.onnx", tmp_path / "model.onnx")
    result = edgecomp("bench", model, "--device", farm, "--runs", 1, "--warmup", 0, "--json")
    assert result.exit_code == 0, result.output
    devices = json.loads(result.stdout)["devices"]
    assert {device["device"]["name"] for device in devices} == {f"pi{n}" for n in range(BOARDS)}
    assert len({device["device"]["home"] for device in devices}) == BOARDS
