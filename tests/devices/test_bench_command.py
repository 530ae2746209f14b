"""`edgecomp bench`, on this machine and over a stand-in for ssh."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Made
from loopback import LoopbackBoard, Run, bench_document, start

from edgecomp.devices import ssh
from edgecomp.devices.device import Device
from edgecomp.errors import NoPythonError

QUICK = ("--runs", "3", "--warmup", "0")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackBoard:
    return start(tmp_path, monkeypatch)


@pytest.fixture
def folder(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "result"))


def bench(edgecomp: Run, folder: Path, *options: object, code: int = 0) -> Any:
    return bench_document(edgecomp, folder, *QUICK, *options, code=code)


def test_this_machine_and_a_board_give_the_same_kind_of_result(
    edgecomp: Run, folder: Path, board: LoopbackBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(board.home))  # where the lock of this machine is
    document = bench(edgecomp, folder, "--device", "local", "--device", "ssh://pi@Board:2222", "--formats", "tflite")
    by_name = {device["device"]["name"]: device for device in document["devices"]}
    assert set(by_name) == {"local", "Board-2222"}
    first, second = (set(device["artifacts"][0]["result"]) for device in by_name.values())
    assert first == second
    for device in by_name.values():
        assert device["artifacts"][0]["result"]["golden"]["agrees"]
    for file in document["files"]:
        assert json.loads(Path(file).read_text()) in document["devices"]
    assert len(document["files"]) == 2
    assert not board.jobs


def test_profile_tells_where_the_time_goes(edgecomp: Run, folder: Path) -> None:
    shown = edgecomp("bench", folder, *QUICK, "--profile", "--formats", "tflite,onnxruntime")
    assert shown.exit_code == 0, shown.output
    assert "model.tflite: its runtime does not tell how long an operator takes" in shown.stdout
    assert re.search(r"model\.onnx: slowest of \d+ operators: \w+ \S+ [\d.e-]+ ms, ", shown.stdout)


def test_what_is_there_is_not_sent_again_and_the_rest_of_a_part_is(
    edgecomp: Run, folder: Path, board: LoopbackBoard
) -> None:
    options = ("--device", "ssh://board", "--formats", "tflite")
    assert bench(edgecomp, folder, *options)["devices"][0]["sent_bytes"] > 0
    assert bench(edgecomp, folder, *options)["devices"][0]["sent_bytes"] == 0
    model = bench(edgecomp, folder, *options)["devices"][0]["artifacts"][0]["sha256"]
    whole = board.home / ".cache/edgecomp/files" / model
    data = whole.read_bytes()
    whole.unlink()
    whole.with_suffix(".part").write_bytes(data[:1000])
    assert bench(edgecomp, folder, *options)["devices"][0]["sent_bytes"] == len(data) - 1000
    whole.unlink()
    whole.with_suffix(".part").write_bytes(b"x" * 1000)  # of a disk that lies
    error = bench(edgecomp, folder, *options, code=1)
    assert "arrived damaged" in error["actual"]
    assert bench(edgecomp, folder, *options)["devices"][0]["sent_bytes"] == len(data)


def test_a_hostile_file_name_is_only_a_name(edgecomp: Run, folder: Path, board: LoopbackBoard) -> None:
    name = "-x $(touch pwned) ;`touch pwned` 'q\" \n.tflite"
    (folder / "model.tflite").rename(folder / name)
    document = bench(edgecomp, folder / name, "--device", "ssh://board", code=1)
    assert document["devices"][0]["artifacts"][0]["error"]["actual"].count(
        "golden.npz has no inputs"
    )  # under that name
    (folder / "golden.npz").unlink()
    document = bench(edgecomp, folder / name, "--device", "ssh://board")
    assert document["devices"][0]["artifacts"][0]["file"] == name
    assert not list(board.home.rglob("pwned"))


SAID = {
    "Could not resolve hostname board": ("no such host name", "hostname -I"),
    "connect to host board port 22: Connection refused": ("nothing answers", "raspi-config"),
    "connect to host board port 22: No route to host": ("cannot be reached", "ping"),
    "pi@board: Permission denied (publickey,password).": ("refuses this user and key", "ssh-copy-id board"),
    "No ED25519 host key is known for board and you have requested strict checking.": ("not known yet", "fingerprint"),
    "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.": (
        "host key has changed",
        "-R",
    ),
}


@pytest.mark.parametrize("said", SAID)
def test_what_ssh_says_is_explained(said: str, edgecomp: Run, folder: Path, board: LoopbackBoard) -> None:
    board.before(f"cat >&2 <<'EOF'\n{said}\nEOF\nexit 255")
    error = bench(edgecomp, folder, "--device", "ssh://board", code=2)
    actual, cure = SAID[said]
    assert error["error"] == "DeviceError"
    assert actual in error["actual"]
    assert cure in error["cure"]


def test_a_board_without_python_is_told_what_to_install(edgecomp: Run, folder: Path, board: LoopbackBoard) -> None:
    board.before("exec /bin/sh -c 'PATH=/nowhere; exec python3'")
    error = bench(edgecomp, folder, "--device", "ssh://board", code=2)
    assert "no python3" in error["actual"]
    assert "apt install python3" in error["cure"]


def test_a_python_that_must_not_run_is_no_refused_key() -> None:
    said = "bash: line 1: exec: /usr/bin/python3: cannot execute: Permission denied"
    error = ssh.explain(Device("board", "ssh://board"), 126, said)
    assert (type(error), said in error.actual) == (NoPythonError, True)


def test_a_board_with_an_old_python_is_told_so(
    edgecomp: Run, folder: Path, board: LoopbackBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.program(
        "python3", f'#!/bin/sh\nshift 2\nexec {sys.executable} -c "import sys; sys.version_info = (3, 7, 3); $1"\n'
    )
    (device,) = bench(edgecomp, folder, "--device", "ssh://board", "--formats", "tflite")["devices"]
    assert "python3 is 3.7" in device["artifacts"][0]["error"]["actual"]  # left out; the native runner is for others
    monkeypatch.setenv("EDGECOMP_CC", "no-compiler")
    error = bench(edgecomp, folder, "--device", "ssh://board", code=2)
    assert "python3 is 3.7" in error["actual"]
    assert "newer system" in error["cure"]


def test_a_login_shell_that_talks_is_not_listened_to(edgecomp: Run, folder: Path, board: LoopbackBoard) -> None:
    board.before("echo 'Welcome to {board}!'; echo '{\"edgecomp\": 99}'; echo 12")
    bench(edgecomp, folder, "--device", "ssh://board", "--formats", "tflite")


def test_two_benches_on_one_board_do_not_disturb_each_other(edgecomp: Run, folder: Path, board: LoopbackBoard) -> None:
    bench(edgecomp, folder, "--device", "ssh://board", "--formats", "tflite")
    lock = board.home / "tmp/edgecomp-board.lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl; f = open({str(lock)!r}, 'w'); fcntl.flock(f, 2); f.write('ann on pc'); "
            "f.flush(); print(flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        error = bench(edgecomp, folder, "--device", "ssh://board", code=2)
        assert "ann on pc" in error["actual"]
        holder.kill()
    bench(edgecomp, folder, "--device", "ssh://board", "--formats", "tflite")


def test_a_home_that_cannot_be_written_to_gives_way_to_tmp(edgecomp: Run, folder: Path, board: LoopbackBoard) -> None:
    (board.home / ".cache").write_text("a file where a folder should be")  # root writes to read-only folders too
    device = bench(edgecomp, folder, "--device", "ssh://board", "--formats", "tflite")["devices"][0]
    assert Path(device["device"]["home"]).parent == board.home / "tmp"
    (board.home / "tmp" / f"edgecomp-{os.getuid()}").chmod(0o777)  # somebody else could have put things there
    error = bench(edgecomp, folder, "--device", "ssh://board", code=1)
    assert "not ours alone" in error["actual"]


@pytest.mark.parametrize(
    ("body", "version", "actual", "cure"),
    [
        ("os.kill(os.getpid(), 4)", "1.21.0", "SIGILL in onnxruntime 1.21.0", "Illegal instruction"),
        ("os.kill(os.getpid(), 4)", "1.99", "SIGILL in onnxruntime 1.99, at the stage 'import'", "another version"),
        ("os.kill(os.getpid(), 11)", "1.99", "SIGSEGV", "bug"),
        ("os.kill(os.getpid(), 9)", "1.21.0", "SIGKILL", "memory"),
    ],
)
def test_a_runtime_that_crashes_on_the_board_gets_the_likely_cause(
    body: str, version: str, actual: str, cure: str, edgecomp: Run, folder: Path, board: LoopbackBoard
) -> None:
    site = board.home / "site"
    (site / f"onnxruntime-{version}.dist-info").mkdir(parents=True)
    (site / f"onnxruntime-{version}.dist-info/METADATA").write_text(f"Name: onnxruntime\nVersion: {version}\n")
    (site / "onnxruntime.py").write_text(f"import os\n{body}\n")
    board.program("python3", f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} "$@"\n')
    python = board.home / "bin/python3"
    farm = folder / "farm.toml"
    farm.write_text(f'[devices.pi4]\nurl = "ssh://board"\npython = "{python}"\ntarget = "raspberry-pi-4b"\n')
    document = bench(edgecomp, folder, "--device", farm, "--formats", "onnxruntime", code=1)
    error = document["devices"][0]["artifacts"][0]["error"]
    assert actual in error["actual"]
    assert cure in error["cure"]


def test_a_link_that_is_lost_and_comes_back_goes_on_where_it_was(
    edgecomp: Run, folder: Path, board: LoopbackBoard, tmp_path: Path
) -> None:
    # The first connection ends when the second artifact begins; the next one is refused, as of a board that boots.
    count = tmp_path / "count"
    refuse = "[ $n != 2 ] || { echo Connection refused >&2; exit 255; }"
    board.before(f"echo >> {count}; export n=$(wc -l < {count}); {refuse}")
    board.program(
        "python3",
        f'#!/bin/sh\ncase "$*" in *model.mnn*) [ $n != 1 ] || kill -9 $PPID;; esac\nexec {sys.executable} "$@"\n',
    )
    farm = folder / "farm.toml"
    farm.write_text(f'[devices.pi4]\nurl = "ssh://board"\npython = "{board.home}/bin/python3"\n')
    (device,) = bench(edgecomp, folder, "--device", farm)["devices"]
    assert [entry["result"] is not None for entry in device["artifacts"]] == [True, True, True]
    assert count.read_text().count("\n") == 3
    assert not board.jobs


def alive(name: str) -> bool:
    """Whether any process was started with this word."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if name.encode() in command.read_bytes():
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_goes_on_when_the_pc_stops(number: signal.Signals, folder: Path, board: LoopbackBoard) -> None:
    runs = f"--runs={10**9 + number}"
    command = [sys.executable, "-m", "edgecomp", "bench", str(folder), "--device", "ssh://board", runs]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: any(board.home.rglob("job-*/bench.py")))
            assert alive(runs)
            process.send_signal(number)
            process.wait(timeout=20)
            wait_until(lambda: not alive(runs) and not board.jobs)
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_artifact_that_was_changed_is_refused(edgecomp: Run, folder: Path) -> None:
    (folder / "model.tflite").write_bytes(b"x")
    error = bench(edgecomp, folder, code=2)
    assert (error["subject"], error["actual"][:8]) == (str(folder / "model.tflite"), "SHA-256 ")
    (folder / "model.tflite").unlink()
    assert bench(edgecomp, folder, code=2)["actual"] == "no such file"


def test_a_format_that_is_not_there_is_an_input_error(edgecomp: Run, folder: Path) -> None:
    assert "no such artifact" in bench(edgecomp, folder, "--formats", "tflite,coreml", code=2)["actual"]
