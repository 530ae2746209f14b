"""Devices without Python: the shell that stands in for the agent, and the native runner, on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Made
from loopback import LoopbackBoard, Run, bench_document, start

from edgecomp.devices import native

pytestmark = pytest.mark.skipif(shutil.which("x86_64-linux-gnu-gcc") is None, reason="there is no C compiler")
QUICK = ("--runs", "3", "--warmup", "1", "--device", "ssh://board")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackBoard:
    found = start(tmp_path, monkeypatch)
    found.program("python3", "#!/bin/sh\nexit 127\n")
    return found


@pytest.fixture
def folder(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "result"))


def bench(edgecomp: Run, folder: Path, *options: object, code: int = 0) -> Any:
    return bench_document(edgecomp, folder, *QUICK, *options, code=code)


def members(value: Any) -> Any:
    """The names in a document, all the way down; what a machine may not tell counts like what it tells."""
    if isinstance(value, Mapping) and "thermal_zone0" not in value:
        return {name: members(part) for name, part in value.items()}
    return None


def test_the_native_runner_gives_what_the_script_gives(edgecomp: Run, folder: Path, board: LoopbackBoard) -> None:
    (device,) = bench(edgecomp, folder)["devices"]
    assert device["device"]["python"] is None
    errors = {entry["format"]: entry["error"] for entry in device["artifacts"]}
    assert errors["onnxruntime"] is None
    assert {errors[name]["error"] for name in ("tflite", "mnn")} == {"MissingToolchainError"}  # left out, no failure
    (found,) = (entry["result"] for entry in device["artifacts"] if entry["result"] is not None)
    board.program("python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (device,) = bench(edgecomp, folder, "--formats", "onnxruntime")["devices"]
    expected = device["artifacts"][0]["result"]
    assert members(found) == members(expected)
    assert found["golden"]["agrees"]
    for part in ("model", "settings", "runtime", "schema"):
        assert found[part] == expected[part]
    assert {**found["machine"], "python": 0, "numpy": 0} == {**expected["machine"], "python": 0, "numpy": 0}
    assert len(found["samples_ms"]) == 3
    assert found["memory_bytes"]["peak"] >= found["memory_bytes"]["after_load"] > found["memory_bytes"]["before_load"]


def test_nothing_is_sent_twice_and_nothing_is_left(edgecomp: Run, folder: Path, board: LoopbackBoard) -> None:
    assert bench(edgecomp, folder, "--formats", "onnxruntime")["devices"][0]["sent_bytes"] > 1e6
    assert bench(edgecomp, folder, "--formats", "onnxruntime")["devices"][0]["sent_bytes"] == 0
    wait_until(lambda: os.listdir(board.home / ".cache/edgecomp") == ["files"])


def test_inputs_are_made_up_without_golden_and_names_are_only_names(
    edgecomp: Run, folder: Path, board: LoopbackBoard
) -> None:
    path = folder / "-x $(touch pwned) ;`touch pwned` 'q\" \n.onnx"
    (folder / "model.onnx").rename(path)
    (folder / "golden.npz").unlink()
    (device,) = bench(edgecomp, path)["devices"]
    assert device["artifacts"][0]["result"]["settings"]["inputs"] == "random"
    assert device["artifacts"][0]["result"]["model"]["file"] == path.name
    assert not list(board.home.rglob("pwned"))


def test_a_damaged_model_is_the_users_to_mend(edgecomp: Run, tmp_path: Path, board: LoopbackBoard) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    (device,) = bench(edgecomp, tmp_path / "m.onnx", code=1)["devices"]
    assert device["artifacts"][0]["error"]["error"] == "SourceError"
    assert "ONNX Runtime" in device["artifacts"][0]["error"]["actual"]


@pytest.mark.parametrize(
    ("variables", "uname", "actual", "cure"),
    [
        ({"EDGECOMP_CC": "no-such-compiler"}, "x86_64", "no compiler no-such-compiler", "EDGECOMP_CC"),
        ({"EDGECOMP_CC": "false"}, "x86_64", "cannot build it", "fix"),
        ({"EDGECOMP_CC": "gcc"}, "aarch64", "no libonnxruntime.so for aarch64", "--native"),
        ({}, "mips", "mips with 64 bits", "apt install python3"),
    ],
)
def test_what_is_missing_is_named(
    variables: dict[str, str],
    uname: str,
    actual: str,
    cure: str,
    edgecomp: Run,
    folder: Path,
    board: LoopbackBoard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    board.program("uname", f"#!/bin/sh\necho {uname}\n")
    error = bench(edgecomp, folder, code=2)
    assert error["error"] == "MissingToolchainError"
    assert actual in error["actual"]
    assert cure in error["cure"]


def test_a_library_of_another_processor_is_passed_over(
    edgecomp: Run, folder: Path, board: LoopbackBoard, tmp_path: Path
) -> None:
    (tmp_path / "arm").mkdir()
    header = b"\x7fELF" + bytes(14) + (183).to_bytes(2, "little")
    (tmp_path / "arm/libonnxruntime.so").write_bytes(header)
    bench(edgecomp, folder, "--formats", "onnxruntime", "--native", tmp_path)
    (tmp_path / "arm/libonnxruntime.so").write_bytes(header[:18] + (62).to_bytes(2, "little"))  # the first that fits
    (device,) = bench(edgecomp, folder, "--formats", "onnxruntime", "--native", tmp_path)["devices"]
    assert "libonnxruntime.so" in device["artifacts"][0]["error"]["actual"]


def test_two_benches_do_not_disturb_each_other(edgecomp: Run, folder: Path, board: LoopbackBoard) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    lock = board.home / f".cache/edgecomp/lock-{boot}"
    lock.mkdir(parents=True)
    (lock / "holder").write_text("ann on pc\n")
    assert "ann on pc" in bench(edgecomp, folder, code=2)["actual"]
    lock.rename(lock.with_name("lock-of-another-boot"))
    bench(edgecomp, folder, "--formats", "onnxruntime")


def test_a_disk_that_is_full_is_named(edgecomp: Run, folder: Path, board: LoopbackBoard) -> None:
    board.program("cat", '#!/bin/sh\n[ "$#" = 0 ] || exec /bin/cat "$@"\necho "No space left on device" >&2\nexit 1\n')
    error = bench(edgecomp, folder, code=2)
    assert "No space left" in error["actual"]
    assert "free some space" in error["cure"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_goes_on_when_the_pc_stops(number: signal.Signals, folder: Path, board: LoopbackBoard) -> None:
    runs = str(10**9 + number)
    command = [sys.executable, "-m", "edgecomp", "bench", str(folder), "--device", "ssh://board", "--runs", runs]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: measured(runs))
            process.send_signal(number)
            process.wait(timeout=20)
            wait_until(lambda: not measured(runs) and os.listdir(board.home / ".cache/edgecomp") == ["files"])
        finally:
            process.kill()


def measured(runs: str) -> bool:
    """Whether the runner works on so many runs."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == b"./runner" and runs.encode() in words:
            return True
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_runner_that_is_killed_is_explained(edgecomp: Run, folder: Path, board: LoopbackBoard) -> None:
    board.program(
        "ln",
        '#!/bin/sh\n/bin/ln "$@"\n[ "$3" != ./runner ] || { rm "$3"; printf "#!/bin/sh\\nkill -9 \\$\\$" '
        '> "$3"; chmod 755 "$3"; }\n',
    )
    (device,) = bench(edgecomp, folder, "--formats", "onnxruntime", code=1)["devices"]
    assert "SIGKILL" in device["artifacts"][0]["error"]["actual"]
    assert "memory" in device["artifacts"][0]["error"]["cure"]


def test_the_places_in_the_table_are_those_of_the_header() -> None:
    """The functions of ONNX Runtime's table by their order in its header, which never changes."""
    source = (Path(native.__file__).parents[2] / "device_scripts/native/onnxruntime.c").read_text()
    table = source[source.index("typedef struct {\n    void *room_0") : source.index("} Api;")]
    place = 0
    for line in table.splitlines()[1:]:
        if "*room_" in line:
            assert f"room_{place}[" in line
            place += int(line.partition("[")[2].partition("]")[0])
        elif "(*" in line:
            place += 1
    assert place == 131
