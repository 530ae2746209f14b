"""Android devices, through the adb server of this machine.

Only two messages of the server's protocol are needed: select a device, and run a command there with its stdin and
stdout on the socket (Android's SERVICES.TXT: "host:transport", and "exec" or "shell,v2", which separates stdout and
stderr and reports the exit code). The agent needs Python on the device, such as Termux's for a rooted shell. A phone as
it is sold has none, and gets the native runner.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from edgecomp.devices.connection import Connection, agent_source, boot_code
from edgecomp.devices.device import Device
from edgecomp.devices.session import Ended
from edgecomp.devices.ssh import lost
from edgecomp.errors import DeviceError, EdgecompError, NoPythonError

_TIMEOUT = 15.0
_BLOCK = 1 << 16
#: The kinds of packets of "shell,v2" (Android's shell_protocol.h).
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)


def connect(device: Device) -> Connection:
    """Starts the agent on a device.

    Raises:
        DeviceError: There is no adb server, or it refuses.
    """
    return _AdbConnection(device, _open(device, f"exec:exec python3 -u -c '{boot_code(len(agent_source()))}'"))


def _open(device: Device, service: str) -> socket.socket:
    """Opens a socket to a service of the device."""
    place = (os.environ.get("ANDROID_ADB_SERVER_ADDRESS", "127.0.0.1"), _port())
    try:
        link = socket.create_connection(place, timeout=_TIMEOUT)
    except OSError as error:
        raise _refusal(device, f"no adb server at {place[0]}:{place[1]}: {error}", "run `adb start-server`") from None
    try:
        _request(link, f"host:transport:{device.rest}" if device.rest else "host:transport-any", device)
        _request(link, service, device)
    except BaseException:
        link.close()
        raise
    link.settimeout(None)
    return link


class AdbShell:
    """The device's shell, with one connection for each command.

    Args:
        device: An adb device.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._running: set[socket.socket] = set()

    def run(self, command: str, source: Path | None, on_line: Callable[[str], None]) -> Ended:
        """See `edgecomp.devices.shell.Shell`."""
        with _open(self._device, f"shell,v2,raw:{command}") as link:
            self._running.add(link)
            try:
                if source is not None:
                    _send_file(link, source)
                return _ended(link, on_line)
            except (OSError, ValueError) as error:
                raise lost(self._device, str(error)) from None
            finally:
                self._running.discard(link)

    def close(self) -> None:
        """See `edgecomp.devices.shell.Shell`."""
        for link in list(self._running):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)


def _send_file(link: socket.socket, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            link.sendall(struct.pack("<BI", _STDIN, len(block)) + block)
    link.sendall(struct.pack("<BI", _CLOSE_STDIN, 0))


class _AdbConnection:
    """A connection in which the agent's stdin and stdout are one socket."""

    def __init__(self, device: Device, link: socket.socket) -> None:
        self._device, self._link = device, link
        self.reader: IO[bytes] = link.makefile("rb")
        self.writer = cast(IO[bytes], link.makefile("wb", buffering=0))

    def close(self) -> None:
        """Closes the connection; the agent notices and ends what it started."""
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        for part in (self.reader, self.writer, self._link):
            with contextlib.suppress(OSError):
                part.close()

    def diagnosis(self) -> EdgecompError:
        """Returns why the connection ended, after the reader reached its end."""
        return NoPythonError(
            f"device {self._device.name}",
            expected="Python 3.9 or newer",
            actual="the connection ended: its shell has no python3 3.9 or newer, or the cable was pulled",
            cure="measure there with the app of `edgecomp bundle`",
        )


def _ended(link: socket.socket, on_line: Callable[[str], None]) -> Ended:
    """Reads a command's output, packet by packet (adb's shell protocol, version 2), until it ends."""
    stdout, stderr, lines = bytearray(), b"", deque[str](maxlen=20)
    while True:
        kind, size = struct.unpack("<BI", _exactly(link, 5))
        data = _exactly(link, size)
        if kind == _EXIT:
            return Ended(data[0], bytes(stdout), tuple(lines))
        if kind == _STDOUT:
            stdout += data
        elif kind == _STDERR:
            *whole, stderr = (stderr + data).split(b"\n")
            for line in whole:
                lines.append(line.decode("utf-8", "replace"))
                on_line(lines[-1])


def _request(link: socket.socket, words: str, device: Device) -> None:
    """Sends a request, its length in four hex digits first, and reads the answer: OKAY, or FAIL with a reason."""
    try:
        data = words.encode()
        link.sendall(b"%04x" % len(data) + data)
        if _exactly(link, 4) == b"OKAY":
            return
        reason = _exactly(link, int(_exactly(link, 4), 16)).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        reason = f"the adb server stopped answering: {error}"
    raise _refusal(device, reason, "see `adb devices`, and allow USB debugging on the device")


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        block = link.recv(size - len(data))
        if not block:
            raise ValueError("it closed the connection")
        data += block
    return data


def _port() -> int:
    text = os.environ.get("ANDROID_ADB_SERVER_PORT", "5037")
    return int(text) if text.isdigit() else 5037


def _refusal(device: Device, actual: str, cure: str) -> DeviceError:
    return DeviceError(f"device {device.name}", expected="an Android device that adb reaches", actual=actual, cure=cure)
