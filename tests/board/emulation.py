"""A Raspberry Pi in a folder: an ARM Debian whose own sshd listens on loopback, run by QEMU's user mode.

The root file system is Debian's, the runtimes are the unmodified aarch64 wheels, and every program in it is real ARM
code, so instruction set, wheels, Python and sshd are a board's. Speed is not: nothing here is a board's milliseconds.

`Image` builds what stays in the cache folder (`EDGECOMP_BOARDS`, else `.venv/boards`); `Board` starts one on a free
port. Each board has namespaces of its own for users, mounts and processes (`namespace.py`): whatever happens to the
tests, the kernel takes its mounts, its binfmt entry and all its processes away with its first process. Needs root,
`mmdebstrap` and `qemu-user-static`.
"""

from __future__ import annotations

import compileall
import dataclasses
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgecomp.devices.cores import CORES

#: To be raised when `Image` builds something else from the same lists.
VERSION = 4
HERE = Path(__file__).parent
CACHE = Path(os.environ.get("EDGECOMP_BOARDS", HERE.parents[1] / ".venv" / "boards"))


_PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\npi:x:1000:1000::/home/pi:/bin/bash\n"
)
_GROUP = "root:x:0:\nnogroup:x:65534:\npi:x:1000:\n"
_MOUNT_POINTS = ("proc", "dev/pts", "run", "tmp", "home/pi")


@dataclass(frozen=True)
class Image:
    """A root file system and the runtimes that go with it.

    Attributes:
        architecture: Debian's name: "arm64" or "armhf".
        packages: Debian packages.
        wheels: Python distributions, unpacked where its Python finds them.
        platforms: Platform tags of their wheels.
        links: Links that the packages' scripts would have made: where -> what.
    """

    architecture: str
    packages: tuple[str, ...]
    wheels: tuple[str, ...]
    platforms: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()

    @property
    def _wheel_folder(self) -> Path:
        return CACHE / f"{self.architecture}-wheels"

    def copy_wheels(self, folder: Path) -> None:
        """Puts the wheels, with pip's, into a folder that is not there yet."""
        self.root()
        shutil.copytree(self._wheel_folder, folder)

    def root(self) -> Path:
        """The root file system, built when it is not there yet; several processes may ask at once."""
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / f"{self.architecture}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            ready = CACHE / f"{self.architecture}"
            recipe = repr((VERSION, dataclasses.astuple(self)))
            stamp = CACHE / f"{self.architecture}.recipe"
            if not ready.exists() or not stamp.exists() or stamp.read_text() != recipe:
                stamp.unlink(missing_ok=True)
                shutil.rmtree(ready, ignore_errors=True)
                self._build(ready)
                stamp.write_text(recipe)
            return ready

    def _build(self, root: Path) -> None:
        # `extract` runs no ARM code: it takes seconds, and what the packages' scripts would have made is made here.
        command = ["mmdebstrap", f"--arch={self.architecture}", "--mode=root", "--variant=extract", "--quiet"]
        # The release alone: a board that lives for a test needs no security updates, and they change under its feet.
        command += ["--setup-hook=sed -i -E '/-(security|updates) /d' \"$1\"/etc/apt/sources.list"]
        command += [f"--include={','.join(self.packages)}", "bookworm", str(root)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        for heavy in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/perl"):
            shutil.rmtree(root / heavy, ignore_errors=True)
        for name, text in {"passwd": _PASSWD, "group": _GROUP, "hostname": "raspberrypi\n"}.items():
            (root / "etc" / name).write_text(text)
        for name, target in (("bin/sh", "dash"), ("usr/bin/python3", "python3.11"), *self.links):
            (root / name).unlink(missing_ok=True)
            (root / name).symlink_to(target)
        for name in _MOUNT_POINTS:
            (root / name).mkdir(parents=True, exist_ok=True)
        site = root / "usr/local/lib/python3.11/dist-packages"
        site.mkdir(parents=True, exist_ok=True)
        for wheel in self.download():
            if not wheel.name.startswith("pip-"):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(site)
        if sys.version_info[:2] == (3, 11):  # the root is read-only: without this, every import compiles under QEMU
            for folder in (root / "usr/lib/python3.11", root / "usr/lib/python3", site):
                compileall.compile_dir(folder, quiet=2, workers=os.cpu_count() or 1)

    def download(self) -> list[Path]:
        """The wheels, with all that they depend on, from pip's index or its cache."""
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version=3.11"]
        command += ["--no-deps"] * (self.architecture == "armhf")  # PyPI has no numpy for it; Debian does
        command += [f"--platform={platform}" for platform in self.platforms]
        subprocess.run([*command, f"--dest={self._wheel_folder}", "pip", *self.wheels], check=True)
        return sorted(self._wheel_folder.glob("*.whl"))


_BASE = (
    "python3-minimal",
    "libpython3-stdlib",
    "libstdc++6",
    "libgomp1",
    "bash",
    "dash",
    "coreutils",
    "openssh-server",
)
_ARMHF = "usr/lib/arm-linux-gnueabihf"
IMAGES = {
    "arm64": Image(
        "arm64",
        _BASE,
        ("ai-edge-litert==2.3.0", "onnxruntime==1.31.1", "MNN==3.6.1", "numpy==2.4.6"),
        tuple(f"manylinux{tag}_aarch64" for tag in ("2014", "_2_17", "_2_27", "_2_28", "_2_34")),
    ),
    "armhf": Image(
        "armhf",
        (*_BASE, "python3-numpy"),
        ("tflite-runtime==2.14.0",),
        ("manylinux_2_34_armv7l",),
        tuple((f"{_ARMHF}/lib{name}.so.3", f"{name}/lib{name}.so.3") for name in ("blas", "lapack")),
    ),
}


@dataclass(frozen=True)
class Board:
    """A running board.

    Attributes:
        name: Its host name in `config`.
        config: An OpenSSH client configuration that knows the board, its key and its host key.
        port: Where its sshd listens on 127.0.0.1.
        folder: Its keys and logs on the PC.
        process: Its first process.
    """

    name: str
    config: Path
    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def run(self, *command: str) -> str:
        """What a command prints that is run over ssh by the stock client."""
        return self._ssh(*command).stdout.decode()

    def send(self, data: bytes, path: str) -> None:
        """Makes a file there."""
        self._ssh("cat", ">", path, data=data)

    def _ssh(self, *command: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        ssh = ["ssh", "-F", str(self.config), self.name, *command]
        return subprocess.run(ssh, check=True, capture_output=True, input=data)


@contextmanager
def running(image: str, core: str, *, home: str = "size=600m", runtimes: str = "full") -> Iterator[Board]:
    """A board with its sshd, until the block ends.

    Args:
        image: A name in `IMAGES`.
        core: A name in `CORES`.
        home: Options of the file system that is /home/pi: "size=1m" makes it small, "ro" read-only.
        runtimes: "full"; "bare" without them, or "no-python" without that too.
    """
    root = IMAGES[image].root()
    with tempfile.TemporaryDirectory(prefix="edgecomp-board-") as name:
        folder = Path(name)
        port = _free_port()
        for key in ("host_key", "client_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
        (folder / "cpuinfo").write_text(CORES[core].cpuinfo)
        (folder / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey /run/board/host_key\nUsePAM no\nPasswordAuthentication no\n"
            "AuthorizedKeysFile /run/board/client_key.pub\nStrictModes no\nPidFile none\n"
            f"SetEnv QEMU_CPU={core}\nSubsystem sftp internal-sftp\n"
        )
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
        config = folder / "ssh_config"
        config.write_text(
            f"Host {core}\n  HostName 127.0.0.1\n  Port {port}\n  User pi\n  IdentityFile {folder}/client_key\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
        )
        settings = [str(root), str(folder), home, runtimes]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "namespace.py"), *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            _wait_for_banner(port, process, folder / "log")
            yield Board(core, config, port, folder, process)
        finally:
            process.kill()  # the first process of the namespaces dies with it, and everything in them with that
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_banner(port: int, process: subprocess.Popen[bytes], log: Path, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the board's sshd did not start: {log.read_text(errors='replace')}")
