"""Android devices, through the adb server that runs on this machine.

Two messages of the server's protocol are all that is needed: choose a device, and run a command there with its stdin
and stdout on the socket (Android's SERVICES.TXT, "host:transport" and "exec"). Python has to be on the device, as with
Termux's for a rooted shell; a phone as it is sold has none, and is measured by the app of `edgecomp bundle`.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import IO, cast

from edgecomp.devices.connection import Connection, agent_source, boot_code
from edgecomp.devices.device import Device
from edgecomp.errors import DeviceError, EdgecompError

_TIMEOUT = 15.0


def connect(device: Device) -> Connection:
    """Starts the agent on a device.

    Raises:
        DeviceError: There is no adb server, or it refuses.
    """
    place = (os.environ.get("ANDROID_ADB_SERVER_ADDRESS", "127.0.0.1"), _port())
    try:
        link = socket.create_connection(place, timeout=_TIMEOUT)
    except OSError as error:
        raise _refusal(device, f"no adb server at {place[0]}:{place[1]}: {error}", "run `adb start-server`") from None
    try:
        _request(link, f"host:transport:{device.rest}" if device.rest else "host:transport-any", device)
        _request(link, f"exec:exec python3 -u -c '{boot_code(len(agent_source()))}'", device)
    except BaseException:
        link.close()
        raise
    link.settimeout(None)
    return _AdbConnection(device, link)


class _AdbConnection:
    """The agent's stdin and stdout are one socket."""

    def __init__(self, device: Device, link: socket.socket) -> None:
        self._device, self._link = device, link
        self.reader: IO[bytes] = link.makefile("rb")
        self.writer = cast(IO[bytes], link.makefile("wb", buffering=0))

    def close(self) -> None:
        """Ends it at once; the agent notices and ends what it started."""
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        for part in (self.reader, self.writer, self._link):
            with contextlib.suppress(OSError):
                part.close()

    def diagnosis(self) -> EdgecompError:
        """Why it ended, after the reader came to its end."""
        return _refusal(
            self._device,
            "the connection ended: there is no python3 of 3.9 or newer in its shell, or the cable was pulled",
            "a phone as it is sold has no Python: measure there with the app of `edgecomp bundle`",
        )


def _request(link: socket.socket, words: str, device: Device) -> None:
    """One request: its length in four hex digits, its bytes, and the answer OKAY, or FAIL with a reason."""
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
    return DeviceError(f"device {device.name}", expected="an Android device with Python", actual=actual, cure=cure)
