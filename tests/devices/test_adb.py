"""adb, with a server on loopback that speaks its protocol; no phone took part."""

from __future__ import annotations

import json
import os
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Made
from typer.testing import Result

Run = Callable[..., Result]


class Handler(socketserver.BaseRequestHandler):
    """One connection: requests until "exec:", whose command then has the socket."""

    home: Path
    python = True

    def handle(self) -> None:
        while True:
            size = self.request.recv(4)
            if not size:
                return
            request = self.request.recv(int(size, 16)).decode()
            if request == "host:transport:gone":
                self.request.sendall(b"FAIL" + b"%04x" % 23 + b"device 'gone' not found")
                return
            self.request.sendall(b"OKAY")
            if request.startswith("exec:"):
                if self.python:
                    environment = {**os.environ, "HOME": str(self.home), "TMPDIR": str(self.home)}
                    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
                    command = ["sh", "-c", request.removeprefix("exec:")]
                    subprocess.run(command, stdin=self.request, stdout=self.request, env=environment, check=False)
                else:
                    self.request.sendall(b"/system/bin/sh: python3: not found\n")
                return


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    handler = type("ThisHandler", (Handler,), {"home": tmp_path})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(listening.server_address[1]))
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        yield handler
        listening.shutdown()


def bench(edgecomp: Run, made: Made, folder: Path, device: str, code: int) -> dict:
    copy = shutil.copytree(made.folder, folder / "result", dirs_exist_ok=True)
    options = ("--device", device, "--formats", "tflite", "--runs", 3, "--warmup", 0, "--json")
    result = edgecomp("bench", copy, *options)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_a_device_with_python_is_measured(edgecomp: Run, made: Made, server: type[Handler], tmp_path: Path) -> None:
    for device in ("adb", "adb:emulator-5554"):
        document = bench(edgecomp, made, tmp_path, device, code=0)
        assert document["devices"][0]["artifacts"][0]["result"]["golden"]["agrees"]


def test_a_device_without_python_is_explained(edgecomp: Run, made: Made, server: type[Handler], tmp_path: Path) -> None:
    server.python = False
    assert "edgecomp bundle" in bench(edgecomp, made, tmp_path, "adb", code=2)["cure"]


def test_what_the_server_refuses_is_said(edgecomp: Run, made: Made, server: type[Handler], tmp_path: Path) -> None:
    assert "device 'gone' not found" in bench(edgecomp, made, tmp_path, "adb:gone", code=2)["actual"]


def test_without_a_server_it_is_named(
    edgecomp: Run, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    assert "adb start-server" in bench(edgecomp, made, tmp_path, "adb", code=2)["cure"]
