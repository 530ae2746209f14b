"""Devices behind ssh, by OpenSSH's own client.

It uses the client instead of a library so that every board that can be reached in a terminal can be reached here too
(configuration with `Match` and `Include`, agents, hardware keys, certificates, jump hosts), and host keys are checked
against the same `known_hosts`. One connection carries everything, in one channel.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from edgecomp.devices.connection import Connection, ProcessConnection, agent_source, boot_code
from edgecomp.devices.device import Device, ssh_address
from edgecomp.devices.session import Ended
from edgecomp.errors import DeviceError, EdgecompError, LinkError, MissingToolchainError, NoPythonError

_OPTIONS = (
    "BatchMode=yes",  # never ask: nobody may be there to answer, and eight boards would ask at once
    "StrictHostKeyChecking=yes",  # regardless of the configuration
    "ServerAliveInterval=5",  # notice a lost connection within 15 s
    "ServerAliveCountMax=3",
    "ConnectTimeout=15",
    "ClearAllForwardings=yes",  # ports forwarded by the configuration would collide between boards
    "LogLevel=ERROR",
)

#: The exit code of ssh's own failures; any other code is that of the board.
_SSH_FAILED = 255

#: ssh's message -> its meaning, and what to do; the first match counts.
_REFUSALS: tuple[tuple[str, str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key has changed: a new system on the board, or somebody in between",
        "if the board was set up again, run `ssh-keygen -R HOST` and connect once with `ssh`; if not, do not go on",
    ),
    (
        r"host key is known|Host key verification failed|key fingerprint",
        "its host key is not known yet",
        "connect once with `ssh {host}` and compare the fingerprint",
    ),
    (
        r"Permission denied|Too many authentication failures|no mutual signature|UNPROTECTED PRIVATE KEY",
        "it refuses this user and key",
        "make `ssh {host}` work without a password: `ssh-copy-id {host}` puts your key on the board",
    ),
    (
        r"Could not resolve hostname",
        "no such host name",
        "correct the name, or take the board's address (`hostname -I` on it)",
    ),
    (
        r"Connection refused",
        "nothing answers at that port",
        "turn ssh on on the board (`raspi-config`), or correct the port",
    ),
    (
        r"timed out|No route to host|Network is unreachable|Host is down",
        "it cannot be reached",
        "check that the board is on and in the same network: `ping` it",
    ),
    (
        r"Bad configuration option|terminating, \d+ bad",
        "ssh refuses its configuration",
        "correct the ssh configuration",
    ),
)


def connect(device: Device, config: Path | None) -> Connection:
    """Starts the agent on a board.

    Args:
        device: An ssh device.
        config: An OpenSSH client configuration to use instead of the user's.

    Raises:
        MissingToolchainError: There is no ssh client.
    """
    if shutil.which("ssh") is None:
        raise MissingToolchainError(
            f"device {device.name}",
            expected="OpenSSH's client, `ssh`",
            actual="it is not on the PATH",
            cure="install it (`apt install openssh-client`)",
        )
    start = f"exec python3 -u -c '{boot_code(len(agent_source()))}'"
    return ProcessConnection(command(device, config, start), lambda code, said: explain(device, code, said))


class SshShell:
    """The board's login shell, with one connection for each command.

    Args:
        device: An ssh device.
        config: See `connect`.
    """

    def __init__(self, device: Device, config: Path | None) -> None:
        self._device, self._config = device, config
        self._running: set[subprocess.Popen[bytes]] = set()

    def run(self, command_line: str, source: Path | None, on_line: Callable[[str], None]) -> Ended:
        """See `edgecomp.devices.shell.Shell`."""
        with contextlib.ExitStack() as stack:
            stdin = subprocess.PIPE if source is None else stack.enter_context(source.open("rb"))
            answer = stack.enter_context(tempfile.TemporaryFile())
            words = command(self._device, self._config, command_line)
            process = subprocess.Popen(words, stdin=stdin, stdout=answer, stderr=subprocess.PIPE)
            stack.enter_context(process)
            self._running.add(process)
            stack.callback(self._running.discard, process)
            stack.callback(process.kill)
            assert process.stderr is not None
            lines: list[str] = []
            for line in process.stderr:
                lines = [*lines[-19:], line.decode("utf-8", "replace").rstrip("\n")]
                on_line(lines[-1])
            code = process.wait()
            if code == _SSH_FAILED or code < 0:
                raise explain(self._device, code, "\n".join(lines))
            answer.seek(0)
            return Ended(code, answer.read(), tuple(lines))

    def close(self) -> None:
        """See `edgecomp.devices.shell.Shell`."""
        for process in list(self._running):
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()  # whatever waits for the end of its stdin ends, and the lock is released
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            process.kill()


def command(device: Device, config: Path | None, words: str) -> list[str]:
    """Returns the ssh command that runs words in the board's login shell."""
    address = ssh_address(device.url)
    options = [f"-o{option}" for option in _OPTIONS]
    if config is not None:
        options.append(f"-F{config.absolute()}")
    if address.user is not None:
        options.append(f"-l{address.user}")
    if address.port is not None:
        options.append(f"-p{address.port}")
    return ["ssh", "-T", *options, "--", address.host, words]


def explain(device: Device, code: int | None, said: str) -> EdgecompError:
    """Returns why the ssh client ended.

    Args:
        device: The device that it was connected to.
        code: Its exit code: 255 is ssh's own, any other the board's.
        said: Its stderr.
    """
    for pattern, actual, cure in _REFUSALS:
        if code in (_SSH_FAILED, None) and re.search(pattern, said):  # other codes come from the board's shell
            return _refusal(device, f"{actual} ({_last(said)})", cure.format(host=ssh_address(device.url).host))
    too_old = re.search(r"python-too-old (\S+)", said)
    if too_old:
        return NoPythonError(
            f"device {device.name}",
            expected="Python 3.9 or newer",
            actual=f"python3 is {too_old[1]} there",
            cure="install a newer system on the board; Python 3.9 came with Debian 11",
        )
    if code in (126, 127):
        return NoPythonError(
            f"device {device.name}",
            expected="Python 3.9 or newer",
            actual=f"no python3 there ({_last(said)})",
            cure="run `sudo apt install python3` on the board",
        )
    return lost(device, said)


def lost(device: Device, said: Sequence[str] | str = "") -> LinkError:
    """Returns the error for a connection that was lost."""
    return LinkError(
        f"device {device.name}",
        expected="a connection until the end",
        actual=f"it was lost; last words: {_last(said if isinstance(said, str) else ' '.join(said))}",
        cure="check power and network of the board and measure again; files that arrived are not sent again",
    )


def _refusal(device: Device, actual: str, cure: str) -> DeviceError:
    return DeviceError(f"device {device.name}", expected="a board that lets edgecomp in", actual=actual, cure=cure)


def _last(said: str) -> str:
    lines = [line.strip() for line in said.strip().splitlines() if line.strip() and set(line.strip()) != {"@"}]
    return lines[-1] if lines else "none"
