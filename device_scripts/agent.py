"""What `edgecomp bench` runs on a board while it measures there; nothing of it stays when the connection ends.

edgecomp starts this file over ssh and talks to it through stdin and stdout: each message is one line of JSON, followed
by as many raw bytes as its "size" says. It needs Python 3.9 and no package.

    {"do": "lock", "holder": WORDS}                 -> {"locked": true} or {"busy": HOLDER}
    {"do": "have", "files": {SHA256: SIZE}}         -> {"have": {SHA256: BYTES}}: the size, or how far it got last time
    {"do": "put", "sha256": H, "offset": N, "size": BYTES} + bytes -> {"stored": H}
    {"do": "run", "files": {NAME: SHA256}, "command": [...]}
                                                    -> {"line": TEXT} while it runs, {"exit": CODE, "size": N} + stdout
    {"do": "drop", "files": [SHA256, ...]}          -> {"dropped": N}
    {"do": "ping"}                                  -> nothing

Anything that goes wrong is answered with {"error": KIND, "message": WORDS}.

1. Files are kept by their SHA-256 in `~/.cache/edgecomp/files`, so that no name from the PC is ever a path here, and
   what is there already is not sent again. When the home cannot be written to, it is a folder in /tmp.
2. "@python" as the first word of a command is the Python of setup.sh if that has run, else the one that runs this.
3. A command runs in a fresh folder with its files, in a session of its own. It is killed when stdin closes, when
   nothing has been heard for `PATIENCE` seconds (a ping is enough), and by the kernel when this process dies.
4. One board measures for one PC at a time: the lock is the kernel's (flock), so it cannot outlive its holder.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from typing import Any

PROTOCOL = 1
PATIENCE = 30.0
LOCK = "edgecomp-board.lock"
#: Bytes that stay free on the board's disk.
MARGIN = 1 << 20
DIE_WITH_PARENT = 1


class LinkLostError(Exception):
    """The PC is gone."""


class RefusalError(Exception):
    """What is answered with an error: its kind for programs, its message for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Link:
    """Messages from and to the PC."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._buffer = b""

    def fill(self) -> None:
        """Waits for more bytes from the PC."""
        ready, _, _ = select.select([0], [], [], self._patience)
        block = os.read(0, 1 << 16) if ready else b""
        if not block:
            raise LinkLostError
        self._buffer += block

    def pending(self) -> dict[str, Any] | None:
        """The next message if it has arrived whole."""
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return None
        self._buffer = rest
        message: dict[str, Any] = json.loads(line)
        return message

    def receive(self) -> dict[str, Any]:
        """Waits for the next message."""
        message = self.pending()
        while message is None:
            self.fill()
            message = self.pending()
        return message

    def take(self, limit: int) -> bytes:
        """Some of the raw bytes behind a message, at most `limit`."""
        if not self._buffer:
            self.fill()
        block, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return block

    def send(self, message: dict[str, Any], data: bytes = b"") -> None:
        """One message, with the raw bytes that its "size" promises."""
        packet = json.dumps(message).encode() + b"\n" + data
        try:
            while packet:
                packet = packet[os.write(1, packet) :]
        except OSError as error:
            raise LinkLostError from error


class Agent:
    """What the board does for the PC."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._home = writable_home()
        self._files = self._home / "files"
        self._files.mkdir(mode=0o700, exist_ok=True)
        self._lock: int | None = None

    def facts(self) -> dict[str, Any]:
        """What the PC wants to know before it sends anything."""
        return {
            "edgecomp": PROTOCOL,
            "python": platform.python_version(),
            "interpreter": interpreter(),
            "machine": platform.machine(),
            "libc": "-".join(platform.libc_ver()),
            "userland_bits": struct.calcsize("P") * 8,
            "host": platform.node(),
            "home": str(self._home),
            "free_bytes": shutil.disk_usage(self._home).free,
        }

    def serve(self) -> None:
        """Answers messages until the PC goes away."""
        self._link.send(self.facts())
        while True:
            message = self._link.receive()
            if message["do"] == "ping":
                continue
            try:
                getattr(self, "do_" + message.pop("do"))(**message)
            except RefusalError as error:
                self._link.send({"error": error.kind, "message": str(error)})
            except OSError as error:
                kind = "no-space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "failed"
                self._link.send({"error": kind, "message": str(error)})

    def do_lock(self, holder: str) -> None:
        """Takes the board, or says who has it (rule 4)."""
        file = open_lock(pathlib.Path(tempfile.gettempdir(), LOCK))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(file, 1000, 0).decode("utf-8", "replace")
            os.close(file)
            self._link.send({"busy": who})
            return
        with contextlib.suppress(OSError):  # another user's file can be locked and not written to
            os.ftruncate(file, 0)
            os.pwrite(file, holder.encode()[:1000], 0)
        self._lock = file
        for job in self._home.glob("job-*"):  # of a board that lost its power
            shutil.rmtree(job, ignore_errors=True)
        self._link.send({"locked": True})

    def do_have(self, files: dict[str, int]) -> None:
        """Says which files are here already; makes room for the others where there is too little."""
        have = {}
        for digest in files:
            whole, part = self._stored(digest), self._stored(digest, ".part")
            have[digest] = whole.stat().st_size if whole.exists() else part.stat().st_size if part.exists() else 0
        missing = sum(max(size - have[digest], 0) for digest, size in files.items()) + MARGIN
        if shutil.disk_usage(self._files).free < missing:
            for file in self._files.iterdir():
                if file.name.partition(".")[0] not in files:
                    file.unlink()
        free = shutil.disk_usage(self._files).free
        if free < missing:
            raise RefusalError("no-space", f"{self._files} has {free} bytes free, {missing} are needed")
        self._link.send({"have": have})

    def do_put(self, sha256: str, offset: int, size: int) -> None:
        """Stores a file, or the rest of one; it gets its name when its hash is right."""
        part = self._stored(sha256, ".part")
        failure: OSError | None = None
        with open(part, "r+b" if offset else "wb") as file:
            file.truncate(offset)
            file.seek(offset)
            while size:
                block = self._link.take(size)
                size -= len(block)
                try:
                    if failure is None:
                        file.write(block)
                except OSError as error:  # the rest of the bytes must be read all the same
                    failure = error
        if failure is not None:
            part.unlink()
            raise failure
        if digest_of(part) != sha256:
            part.unlink()
            raise RefusalError("damaged", f"{sha256} arrived damaged")
        part.replace(self._stored(sha256))
        self._link.send({"stored": sha256})

    def do_drop(self, files: list[str]) -> None:
        """Removes files that will not be needed again."""
        for digest in files:
            self._stored(digest).unlink()
        self._link.send({"dropped": len(files)})

    def do_run(self, files: dict[str, str], command: list[str]) -> None:
        """Runs a command among its files (rule 3)."""
        if command[0] == "@python":
            command = [interpreter(), *command[1:]]
        job = pathlib.Path(tempfile.mkdtemp(prefix="job-", dir=self._home))
        try:
            for name, digest in files.items():
                place = job / name
                if place.parent != job:
                    raise RefusalError("failed", f"{name!r} is not a file name")
                os.symlink(self._stored(digest), place)
            with tempfile.TemporaryFile(dir=self._home) as answer:
                code = self._watch(command, job, answer)
                answer.seek(0)
                data = answer.read()
            self._link.send({"exit": code, "size": len(data)}, data)
        finally:
            shutil.rmtree(job, ignore_errors=True)

    def _watch(self, command: list[str], job: pathlib.Path, answer: Any) -> int:
        """Sends what a command says on stderr, line by line, and ends it when the PC goes away."""
        process = subprocess.Popen(
            command,
            cwd=job,
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        assert process.stderr is not None
        stderr, text = process.stderr.fileno(), b""
        try:
            while True:
                ready, _, _ = select.select([0, stderr], [], [], PATIENCE)
                if not ready:
                    raise LinkLostError
                if 0 in ready:
                    self._link.fill()
                    while self._link.pending() is not None:
                        pass  # only pings come now
                if stderr in ready:
                    block = os.read(stderr, 1 << 16)
                    *lines, text = (text + block).split(b"\n")
                    for line in [*lines, text] if not block else lines:
                        self._link.send({"line": line.decode("utf-8", "replace")[:2000]})
                    if not block:
                        return process.wait()
        finally:
            end(process)

    def _stored(self, digest: str, suffix: str = "") -> pathlib.Path:
        if re.fullmatch("[0-9a-f]{64}", digest) is None:
            raise RefusalError("failed", f"{digest!r} is not a SHA-256")
        return self._files / (digest + suffix)


def interpreter() -> str:
    """The Python that has the runtimes (rule 2)."""
    venv = pathlib.Path.home() / ".local/share/edgecomp/venv"
    finished = (venv / "edgecomp-requirements").exists()  # what setup.sh writes last
    return str(venv / "bin/python") if finished else sys.executable


def writable_home() -> pathlib.Path:
    """The folder for everything that is stored here (rule 1)."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "edgecomp")
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return home
    except OSError:
        other = pathlib.Path(tempfile.gettempdir(), f"edgecomp-{os.getuid()}")
        other.mkdir(mode=0o700, exist_ok=True)
        status = other.lstat()
        if status.st_uid != os.getuid() or status.st_mode & 0o077:  # somebody else made it
            raise RefusalError("failed", f"{other} is not ours alone") from None
        return other


def open_lock(path: pathlib.Path) -> int:
    """A descriptor to lock the board with, whichever user made the file."""
    for flags in (os.O_RDWR, os.O_RDONLY, os.O_RDWR | os.O_CREAT):
        try:
            file = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except (FileNotFoundError, PermissionError):
            continue
        return file
    raise RefusalError("failed", f"{path} cannot be opened")


def digest_of(path: pathlib.Path) -> str:
    """A file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def die_with_parent() -> None:
    """Makes the kernel kill this process when its parent ends; Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main() -> None:
    """Serves until the PC goes away."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # A terminal that closes, or a system that shuts down: end like any lost link, so that `finally` cleans up.
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))
    link = Link(PATIENCE)
    try:
        Agent(link).serve()
    except LinkLostError:
        pass
    except RefusalError as error:
        link.send({"edgecomp": PROTOCOL, "error": error.kind, "message": str(error)})


if __name__ == "__main__":
    main()
