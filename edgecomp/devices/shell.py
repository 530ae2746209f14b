"""Sessions with devices without Python: a POSIX shell does what `device_scripts/agent.py` does elsewhere.

1. Files are stored by their SHA-256 in a folder that is writable and executable, in the same way as by the agent.
2. Each command runs in a new folder that holds its files by name and is removed afterwards.
3. The device is locked by a folder whose name contains the boot id, so that a lock does not survive a reboot. A
   separate shell holds the lock, and removes it when the connection ends.
4. No name is ever inserted into a script: scripts are constants, and everything else is a quoted argument.
"""

from __future__ import annotations

import contextlib
import queue
import re
import shlex
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgecomp.devices.device import Device
from edgecomp.devices.session import Ended, Payload, busy
from edgecomp.errors import DeviceError, NoPythonError, PromiseError

_FACTS = """
cache=${XDG_CACHE_HOME:-${HOME:-/nowhere}/.cache}
for place in "$cache/edgecomp" /data/local/tmp/edgecomp "/tmp/edgecomp-$(id -u)"; do
    if mkdir -p "$place/files" 2>/dev/null && [ -w "$place/files" ]; then
        echo "home=$place"
        break
    fi
done
echo "machine=$(uname -m)"
echo "host=$(uname -n)"
echo "system=$(getprop ro.product.model 2>/dev/null)"
echo "class=$(od -An -tu1 -j4 -N1 "$(command -v sh)" | tr -d ' ')"
"""
_HAVE = 'cd "$1/files" && for file in *; do [ -f "$file" ] && echo "$file $(wc -c <"$file")"; done; :'
_PUT = """
cd "$1/files" && cat >"$2.part" || exit 1
if command -v sha256sum >/dev/null; then
    [ "$(sha256sum <"$2.part" | cut -d ' ' -f 1)" = "$2" ] || { rm -f "$2.part"; exit 3; }
fi
chmod 700 "$2.part" && mv "$2.part" "$2"
"""
_DROP = 'cd "$1/files" && shift && rm -f -- "$@"'
_RUN = """
job=$(mktemp -d "$1/job-XXXXXX") && cd "$job" || exit 1
count=$2
shift 2
while [ "$count" -gt 0 ]; do
    ln -s "../files/$2" "$1" || exit 1
    count=$((count - 1))
    shift 2
done
"$@"
code=$?
cd / && rm -rf "$job"
exit "$code"
"""
_LOCK = """
lock="$1/lock-$(cat /proc/sys/kernel/random/boot_id)"
if mkdir "$lock" 2>/dev/null; then
    trap 'rm -rf "$lock"' EXIT
    trap 'exit 1' HUP INT TERM
    echo "$2" >"$lock/holder"
    echo locked >&2
    cat >/dev/null
else
    echo "busy $(cat "$lock/holder")" >&2
fi
"""


class Shell(Protocol):
    """Runs commands on a device."""

    def run(self, command: str, source: Path | None, on_line: Callable[[str], None]) -> Ended:
        """Runs a command in the device's login shell.

        Args:
            command: The words, quoted.
            source: Its stdin; None keeps stdin open until the command or the connection ends.
            on_line: Called with each line of its stderr.

        Raises:
            EdgecompError: The connection does not work.
        """

    def close(self) -> None:
        """Ends all running commands. May be called from any thread."""


class ShellSession:
    """Like `Session`, with a shell instead of the agent.

    Args:
        device: The device.
        shell: Runs commands there.
        reason: Why there is no agent.

    Attributes:
        facts: The facts that the shell reports, under the names that the agent uses.
        reason: Why there is no agent.

    Raises:
        NoPythonError: The reason, if there is no POSIX shell either.
        EdgecompError: The connection does not work, or no folder is writable.
    """

    def __init__(self, device: Device, shell: Shell, reason: NoPythonError) -> None:
        self._device, self._shell, self.reason = device, shell, reason
        ended = shell.run(_command(_FACTS), None, lambda line: None)
        if ended.code != 0:
            raise reason
        said = ended.stdout.decode("utf-8", "replace")
        found = dict(line.partition("=")[::2] for line in said.splitlines() if "=" in line)
        if not found.get("home"):
            raise self._failed("no folder that can be written to", "free some space, or make /tmp writable")
        self._home = found["home"]
        self.facts: dict[str, Any] = {
            "python": None,
            "interpreter": None,
            "machine": found.get("machine", ""),
            "libc": "bionic" if found.get("system") else "",
            "userland_bits": 32 if found.get("class") == "1" else 64,
            "host": found.get("system") or found.get("host", ""),
            "home": self._home,
        }

    def close(self) -> None:
        """Ends the session, and everything that it started on the device. May be called from any thread."""
        self._shell.close()

    def lock(self, holder: str) -> None:
        """Locks the device for this session.

        Raises:
            DeviceError: Another session has locked it.
        """
        lines: queue.Queue[str] = queue.Queue()

        def hold() -> None:
            with contextlib.suppress(Exception):  # the next use of the connection reports the error
                self._shell.run(_command(_LOCK, self._home, holder), None, lines.put)
            lines.put("")

        threading.Thread(target=hold, daemon=True).start()
        answer = lines.get()
        if answer.startswith("busy"):
            raise busy(self._device, answer.removeprefix("busy").strip())

    def push(self, files: Sequence[Payload], progress: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Sends files that the device does not have.

        Returns:
            The number of bytes that were sent.
        """
        rows = [line.split() for line in self._do(_HAVE, self._home).stdout.decode().splitlines()]
        have = {row[0]: int(row[1]) for row in rows if len(row) == 2}
        missing = {file.sha256: file for file in files if have.get(file.sha256) != file.size}
        total, done = sum(file.size for file in missing.values()), 0
        for digest, file in missing.items():
            ended = self._shell.run(_command(_PUT, self._home, digest), file.path, lambda line: None)
            if ended.code != 0:
                damaged = "it arrived damaged" if ended.code == 3 else " | ".join(ended.stderr[-2:])
                raise self._failed(
                    f"{file.path.name}: {damaged}", f"free some space there: {self._home} can be removed"
                )
            done += file.size
            progress(done, total)
        return total

    def drop(self, files: Sequence[Payload]) -> None:
        """Removes files from the device that are no longer needed."""
        self._do(_DROP, self._home, *(file.sha256 for file in files))

    def run(self, files: Mapping[str, Payload], command: Sequence[str], on_line: Callable[[str], None]) -> Ended:
        """Runs a command in a folder with these files, which must have been sent before; see `Session.run`."""
        links = [word for name, file in files.items() for word in (f"./{name}", file.sha256)]
        ended = self._shell.run(_command(_RUN, self._home, str(len(files)), *links, *command), None, on_line)
        # A shell reports a signal as an exit code above 128.
        return Ended(128 - ended.code if 128 < ended.code < 160 else ended.code, ended.stdout, ended.stderr)

    def _do(self, script: str, *words: str) -> Ended:
        ended = self._shell.run(_command(script, *words), None, lambda line: None)
        if ended.code != 0:
            raise PromiseError(
                f"device {self._device.name}",
                expected="a POSIX shell with the usual commands",
                actual=" | ".join(ended.stderr[-2:]) or f"exit code {ended.code}",
                cure="install busybox there, or Python",
            )
        return ended

    def _failed(self, actual: str, cure: str) -> DeviceError:
        return DeviceError(
            f"device {self._device.name}", expected="a device that takes files", actual=actual, cure=cure
        )


def _command(script: str, *words: str) -> str:
    """Returns a command line that any login shell passes on to sh."""
    return shlex.join(["sh", "-c", re.sub(r"\n+", "\n", script.strip()), "edgecomp", *words])
