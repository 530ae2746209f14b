"""Connections to devices: a process or a socket with `device_scripts/agent.py` at the other end."""

from __future__ import annotations

import contextlib
import importlib.resources
import io
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Protocol, cast

from edgecomp.errors import EdgecompError

#: Starts the agent from its source, which follows on stdin, so that nothing has to be installed. The text goes through
#: the board's login shell, whichever that is; only a length is inserted into it, so it needs no quoting. Nothing else
#: is sent before the agent has answered, so Python's input buffer cannot swallow it.
_BOOT = (
    "import sys; "
    'sys.version_info[:2] >= (3, 9) or sys.exit("python-too-old %d.%d" % tuple(sys.version_info[:2])); '
    "exec(sys.stdin.buffer.read({size}).decode())"
)

#: (exit code or None, stderr) -> why a connection ended.
Explain = Callable[[int | None, str], EdgecompError]


class Connection(Protocol):
    """Bytes to and from the agent."""

    reader: IO[bytes]
    writer: IO[bytes]

    def close(self) -> None:
        """Closes the connection; the agent notices and ends what it started."""

    def diagnosis(self) -> EdgecompError:
        """Returns why the connection ended, after the reader reached its end."""


class ProcessConnection:
    """A connection through the stdin and stdout of a process: a Python of this machine, or ssh.

    Args:
        command: The command line of the process.
        explain: Turns exit code and stderr into an error.
        environment: Its environment, if not that of this process.
    """

    def __init__(self, command: Sequence[str], explain: Explain, environment: Mapping[str, str] | None = None) -> None:
        self._explain = explain
        self._said = ""
        self._closing = threading.Lock()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as this; a pipe could fill up and block
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            env=None if environment is None else dict(environment),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.writer: IO[bytes] = self._process.stdin
        self.reader: IO[bytes] = io.BufferedReader(cast(io.RawIOBase, self._process.stdout))

    def close(self) -> None:
        """Closes the connection; the agent notices and ends what it started."""
        with contextlib.suppress(OSError):
            self.writer.close()
        try:
            self._process.wait(timeout=1)  # an agent whose input ends cleans up first
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with self._closing:
            if not self._stderr.closed:
                self._said = self._read_stderr()
                self._stderr.close()
                self.reader.close()

    def diagnosis(self) -> EdgecompError:
        """Returns why the connection ended, after the reader reached its end."""
        try:
            code: int | None = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = None
        with self._closing:
            return self._explain(code, self._said if self._stderr.closed else self._read_stderr())

    def _read_stderr(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode("utf-8", "replace")


def agent_source() -> bytes:
    """Returns the agent's source, to be sent to the device."""
    return importlib.resources.files("edgecomp.device_scripts").joinpath("agent.py").read_bytes()


def boot_code(size: int) -> str:
    """Returns Python code that reads the agent of `size` bytes from stdin and runs it."""
    return _BOOT.format(size=size)
