"""A session with the agent on a device: locks the device, sends missing files, and runs commands."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecomp.devices.connection import Connection, agent_source
from edgecomp.devices.device import Device
from edgecomp.errors import DeviceError, LinkError, PromiseError
from edgecomp.manifest import sha256

PROTOCOL = 1
#: Seconds between heartbeats; the agent gives up after 30 seconds without one.
HEARTBEAT = 5.0
#: Lines that a login shell may print before the agent speaks.
_NOISE_LINES = 200
_BLOCK = 1 << 18

_CURES = {
    "no-space": "free some space on the device: ~/.cache/edgecomp can be removed at any time",
    "damaged": "measure again; if it happens again, check the device's disk and memory",
}


@dataclass(frozen=True)
class Ended:
    """The result of a command.

    Attributes:
        code: Its exit code, negative for a signal.
        stdout: Its standard output.
        stderr: The last lines of its standard error.
    """

    code: int
    stdout: bytes
    stderr: tuple[str, ...]


@dataclass(frozen=True)
class Payload:
    """A file to send.

    Attributes:
        path: Its path on this machine.
        sha256: The hash of its content.
        size: In bytes.
    """

    path: Path
    sha256: str
    size: int

    @classmethod
    def of(cls, path: Path) -> Payload:
        """Computes hash and size of a file."""
        return cls(path, sha256(path), path.stat().st_size)


class Session:
    """An open session.

    Args:
        device: The device.
        connection: The connection to the device.

    Attributes:
        facts: The facts that the agent reports; see `Agent.facts` in `device_scripts/agent.py`.

    Raises:
        EdgecompError: The agent did not start; the connection says why.
    """

    def __init__(self, device: Device, connection: Connection) -> None:
        self._device, self._connection = device, connection
        self._writing = threading.RLock()
        self._closed = threading.Event()
        try:
            self._write(agent_source())
            self.facts: dict[str, Any] = self._hello()
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._beat, daemon=True).start()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the session, and everything that it started on the device. May be called from any thread."""
        self._closed.set()
        self._connection.close()

    def lock(self, holder: str) -> None:
        """Locks the device for this session.

        Raises:
            DeviceError: Another session has locked it.
        """
        answer = self._ask({"do": "lock", "holder": holder})
        if "busy" in answer:
            raise busy(self._device, answer["busy"])

    def push(self, files: Sequence[Payload], progress: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Sends files that the device does not have, and the rest of files that it has in part.

        Returns:
            The number of bytes that were sent.
        """
        wanted = {file.sha256: file for file in files}
        have = self._ask({"do": "have", "files": {file.sha256: file.size for file in wanted.values()}})["have"]
        missing = {digest: file for digest, file in wanted.items() if have[digest] != file.size}
        offsets = {digest: have[digest] if have[digest] < file.size else 0 for digest, file in missing.items()}
        total, done = sum(file.size - offsets[digest] for digest, file in missing.items()), 0
        for digest, file in missing.items():
            size = file.size - offsets[digest]
            with self._writing, file.path.open("rb") as source:  # no heartbeat in between: these are raw bytes
                self._send({"do": "put", "sha256": digest, "offset": offsets[digest], "size": size})
                source.seek(offsets[digest])
                while block := source.read(min(size, _BLOCK)):
                    self._write(block)
                    size -= len(block)
                    done += len(block)
                    progress(done, total)
            self._answer()
        return total

    def drop(self, files: Sequence[Payload]) -> None:
        """Removes files from the device that are no longer needed."""
        self._ask({"do": "drop", "files": [file.sha256 for file in files]})

    def run(self, files: Mapping[str, Payload], command: Sequence[str], on_line: Callable[[str], None]) -> Ended:
        """Runs a command on the device, in a folder with these files, which must have been sent before.

        Args:
            files: Name -> file.
            command: The words of the command; a leading "@python" stands for the Python that has the runtimes.
            on_line: Called with each line of its stderr.
        """
        names = {name: file.sha256 for name, file in files.items()}
        self._send({"do": "run", "files": names, "command": list(command)})
        lines: list[str] = []
        while "exit" not in (answer := self._answer()):
            lines = [*lines[-19:], answer["line"]]
            on_line(answer["line"])
        return Ended(answer["exit"], self._read(answer["size"]), tuple(lines))

    def _hello(self) -> dict[str, Any]:
        for _ in range(_NOISE_LINES):  # the shell's start-up files may print anything first
            line = self._line()
            with contextlib.suppress(ValueError):
                answer = json.loads(line)
                if isinstance(answer, dict) and answer.get("edgecomp") == PROTOCOL:
                    return self._checked(answer)
        raise DeviceError(
            f"device {self._device.name}",
            expected="an answer from edgecomp's agent",
            actual=f"{_NOISE_LINES} lines of something else",
            cure="see what `ssh` prints when it logs in there, and silence it",
        )

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self._send(message)
        return self._answer()

    def _send(self, message: dict[str, Any]) -> None:
        self._write(json.dumps(message).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        try:
            with self._writing:
                view = memoryview(data)
                while view:
                    view = view[self._connection.writer.write(view) :]
        except (OSError, ValueError):  # a ValueError: `close` came from another thread
            raise self._connection.diagnosis() from None

    def _answer(self) -> dict[str, Any]:
        return self._checked(json.loads(self._line()))

    def _line(self) -> bytes:
        with contextlib.suppress(OSError, ValueError):  # a ValueError: `close` came from another thread
            line = self._connection.reader.readline()
            if line.endswith(b"\n"):
                return line
        raise self._connection.diagnosis()

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "error" not in answer:
            return answer
        kind, actual = answer["error"], answer["message"]
        error = DeviceError if kind == "no-space" else PromiseError
        cure = _CURES.get(kind, "correct what it says on the device, and measure again")
        raise error(f"device {self._device.name}", expected="a device that can be used", actual=actual, cure=cure)

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            block = b""
            with contextlib.suppress(OSError, ValueError):
                block = self._connection.reader.read(size - len(data))
            if not block:
                raise self._connection.diagnosis()
            data += block
        return bytes(data)

    def _beat(self) -> None:
        while not self._closed.wait(HEARTBEAT):
            with contextlib.suppress(DeviceError, LinkError):  # whoever waits for an answer gets the error
                self._send({"do": "ping"})


def busy(device: Device, holder: str) -> DeviceError:
    """Returns the error for a device on which another session measures."""
    return DeviceError(
        f"device {device.name}",
        expected="a device that nobody else measures on",
        actual=f"{holder or 'somebody'} does",
        cure="wait until that is done",
    )
