"""Ctrl-C and a native crash at any point leave no folder, no temporary file and no process behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from liveness import is_alive

#: Imported by the calibration function of each test, in the process of the command line.
HELPER = """
import os, time
import numpy as np

def wait(pid):
    "Says which process waits, and waits."
    with open(pid + ".partial", "w") as file:
        file.write(str(os.getpid()))
    os.rename(pid + ".partial", pid)
    time.sleep(600)

def abort(pid):
    os.abort()

def samples():
    point, action, pid = (os.environ[name] for name in ("TEST_POINT", "TEST_ACTION", "TEST_PID"))
    from edgecomp.verification import recording
    from edgecomp.converter import load_converter
    from edgecomp.system.isolation import run_isolated

    def act(*arguments, **options):
        return run_isolated(f"interrupt_helper:{action}", subject=point, cancel=options.get("cancel"), pid=pid)

    converter = load_converter("tflite")
    convert = converter.convert
    def half(model, path, options):
        convert(model, path, options)
        act()

    if point == "convert":
        converter.convert = half
    if point == "verify":
        recording.run_isolated = act
    for index in range(4):
        if point == "calibrate" and index == 2:
            wait(pid)
        yield np.random.default_rng(index).random((1, 2, 5, 5), np.float32)
"""


def start(point: str, action: str, folder: Path, onnx_file: Path) -> subprocess.Popen[str]:
    (folder / "interrupt_helper.py").write_text(HELPER)
    (folder / "results").mkdir()
    (folder / "temporary").mkdir()
    command = [sys.executable, "-m", "edgecomp", "compress", str(onnx_file), "--target", "raspberry-pi-4b"]
    command += ["--calibration", "interrupt_helper:samples", "-o", "results/deep/out"]
    environment = os.environ | {
        "TEST_POINT": point,
        "TEST_ACTION": action,
        "TEST_PID": str(folder / "pid"),
        "TMPDIR": str(folder / "temporary"),
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def assert_nothing_is_left(folder: Path) -> None:
    assert list((folder / "results").iterdir()) == []
    assert list((folder / "temporary").iterdir()) == []


@pytest.mark.parametrize("point", ["calibrate", "convert", "verify"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing(
    point: str, number: signal.Signals, code: int, tmp_path: Path, onnx_file: Path
) -> None:
    with start(point, "wait", tmp_path, onnx_file) as process:
        try:
            deadline = time.monotonic() + 60
            while not (tmp_path / "pid").exists():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == code, err
    assert out == ""
    assert err == ("interrupted: nothing was written\n" if number == signal.SIGINT else "")
    assert not is_alive(int((tmp_path / "pid").read_text()))
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize("point", ["convert", "verify"])
def test_a_native_crash_leaves_nothing(point: str, tmp_path: Path, onnx_file: Path) -> None:
    with start(point, "abort", tmp_path, onnx_file) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert err.startswith(f"error: {point}\n")
    assert "signal 6 (SIGABRT)" in err
    assert_nothing_is_left(tmp_path)
