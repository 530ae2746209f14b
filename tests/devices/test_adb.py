"""adb, with a server on loopback that speaks its protocol; no phone took part."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import onnxruntime
import pytest
from conftest import Made
from typer.testing import Result

Run = Callable[..., Result]


class Handler(socketserver.BaseRequestHandler):
    """One connection: requests until a service, which then has the socket."""

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
            service, _, command = request.partition(":")
            if service == "exec" and not self.python:
                self.request.sendall(b"/system/bin/sh: python3: not found\n")
                return
            if service == "exec":
                subprocess.run(self.words(command), stdin=self.request, stdout=self.request, env=self.environment())
                return
            if service == "shell,v2,raw":
                self.shell(command)
                return

    def words(self, command: str) -> list[str]:
        return ["sh", "-c", command]

    def environment(self) -> dict[str, str]:
        path = f"{self.home}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "HOME": str(self.home), "TMPDIR": str(self.home), "PATH": path}

    def shell(self, command: str) -> None:
        """Packets of one byte that says what they are, four that say how long, and so many bytes."""
        process = subprocess.Popen(
            self.words(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(),
        )
        assert process.stdin is not None

        def forward(kind: int, stream: IO[bytes]) -> None:
            while block := os.read(stream.fileno(), 1000):
                self.request.sendall(struct.pack("<BI", kind, len(block)) + block)

        outputs = [threading.Thread(target=forward, args=part) for part in ((1, process.stdout), (2, process.stderr))]
        for thread in outputs:
            thread.start()
        feeding = threading.Thread(target=self.feed, args=(process.stdin,), daemon=True)
        feeding.start()
        with process:
            for thread in outputs:
                thread.join()
            code = process.wait()
        with contextlib.suppress(OSError):
            self.request.sendall(struct.pack("<BIB", 3, 1, code if code >= 0 else 128 - code))

    def feed(self, stdin: IO[bytes]) -> None:
        """Hands on what comes for stdin until it is closed, from here or by the end of the connection."""
        with contextlib.suppress(OSError, ValueError, struct.error):
            while True:
                kind, size = struct.unpack("<BI", self.request.recv(5, socket.MSG_WAITALL))
                if kind == 4:
                    break
                stdin.write(self.request.recv(size, socket.MSG_WAITALL))
        with contextlib.suppress(OSError, ValueError):
            stdin.close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    handler = type("ThisHandler", (Handler,), {"home": tmp_path})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(listening.server_address[1]))
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        yield handler
        listening.shutdown()


def bench(edgecomp: Run, made: Made, folder: Path, device: str, *more: object, code: int, only: str = "tflite") -> dict:
    copy = shutil.copytree(made.folder, folder / "result", dirs_exist_ok=True)
    options = ("--device", device, "--formats", only, "--runs", 3, "--warmup", 0, "--json")
    result = edgecomp("bench", copy, *options, *more)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_a_device_with_python_is_measured(edgecomp: Run, made: Made, server: type[Handler], tmp_path: Path) -> None:
    for device in ("adb", "adb:emulator-5554"):
        document = bench(edgecomp, made, tmp_path, device, code=0)
        assert document["devices"][0]["artifacts"][0]["result"]["golden"]["agrees"]


@pytest.mark.skipif(shutil.which("x86_64-linux-gnu-gcc") is None, reason="there is no C compiler")
def test_a_device_without_python_is_measured_by_the_native_runner(
    edgecomp: Run, made: Made, server: type[Handler], tmp_path: Path
) -> None:
    server.python = False
    for sent in (True, False):
        (device,) = bench(edgecomp, made, tmp_path, "adb", code=0, only="onnxruntime")["devices"]
        assert device["artifacts"][0]["result"]["golden"]["agrees"]
        assert (device["sent_bytes"] > 0) == sent
    (device,) = bench(edgecomp, made, tmp_path, "adb", code=0, only="tflite")["devices"]
    assert "edgecomp bundle" in device["artifacts"][0]["error"]["cure"]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler")
def test_a_phone_gets_a_library_of_its_own_system(
    edgecomp: Run, made: Made, server: type[Handler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.python = False
    (tmp_path / "getprop").write_text("#!/bin/sh\necho A phone\n")
    (tmp_path / "getprop").chmod(0o755)
    error = bench(edgecomp, made, tmp_path, "adb", code=2, only="onnxruntime")
    assert "EDGECOMP_CC=NDK" in error["cure"]
    monkeypatch.setenv("EDGECOMP_CC", "gcc")
    error = bench(edgecomp, made, tmp_path, "adb", code=2, only="onnxruntime")  # the one of this PC is none for a phone
    assert "jni/arm64-v8a" in error["cure"]
    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so*"))
    (tmp_path / "native").mkdir()
    (tmp_path / "native/libonnxruntime.so").symlink_to(library)
    options = ("--native", tmp_path / "native")
    (device,) = bench(edgecomp, made, tmp_path, "adb", *options, code=0, only="onnxruntime")["devices"]
    assert device["device"]["host"] == "A phone"


def test_what_the_server_refuses_is_said(edgecomp: Run, made: Made, server: type[Handler], tmp_path: Path) -> None:
    assert "device 'gone' not found" in bench(edgecomp, made, tmp_path, "adb:gone", code=2)["actual"]


def test_without_a_server_it_is_named(
    edgecomp: Run, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    assert "adb start-server" in bench(edgecomp, made, tmp_path, "adb", code=2)["cure"]
