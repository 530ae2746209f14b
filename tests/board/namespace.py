"""The first process of an emulated board: makes namespaces, mounts what a board has, and starts its sshd.

    python3 namespace.py ROOT FOLDER HOME full|bare|no-python

A namespace of users gives it a binfmt registration of its own (Linux 6.7), so that ARM programs run inside the board
and nothing changes outside. On older kernels the registration that Debian's qemu-user-static makes serves it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

NEW_MOUNTS, NEW_USERS, NEW_PROCESSES = 0x20000, 0x10000000, 0x20000000
DIE_WITH_PARENT = 1
BINFMT = Path("/proc/sys/fs/binfmt_misc")
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(root: str, folder: str, home: str, runtimes: str) -> None:
    """Three processes: one outside that gives the namespace its users, its first one, and sshd."""
    parent = os.getpid()
    unshared, mapped = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        die_with(parent)
        if _LIBC.unshare(NEW_MOUNTS | NEW_USERS | NEW_PROCESSES):
            raise OSError(ctypes.get_errno(), "unshare: root is needed")
        os.write(unshared[1], b".")
        os.read(mapped[0], 1)
        os.setgid(0)
        os.setuid(0)
        first = os.fork()
        if first == 0:
            _LIBC.prctl(DIE_WITH_PARENT, signal.SIGKILL)
            prepare(Path(root), Path(folder), home, runtimes)
            os.chroot(root)
            os.chdir("/")
            start_sshd()
        os.waitpid(first, 0)
        os._exit(1)
    os.read(unshared[0], 1)
    for kind in ("uid_map", "gid_map"):
        Path(f"/proc/{child}/{kind}").write_text("0 0 65536\n")
    os.write(mapped[1], b".")
    os.waitpid(child, 0)


def die_with(parent: int) -> None:
    """Makes the kernel kill this process when its parent ends."""
    _LIBC.prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def prepare(root: Path, folder: Path, home: str, runtimes: str) -> None:
    """Mounts the board's own file systems over the root, which stays as it is and serves several boards."""
    mount("--make-rprivate", "/")
    mount("-t", "proc", "proc", "/proc")
    register()
    mount("--bind", root, root)
    mount("-t", "proc", "proc", root / "proc")
    mount("--bind", "-o", "ro", folder / "cpuinfo", root / "proc/cpuinfo")
    for place, options in (
        ("run", "mode=755"),
        ("tmp", "mode=1777"),
        ("home/pi", "uid=1000,gid=1000,mode=755," + home),
    ):
        mount("-t", "tmpfs", "-o", options, "board", root / place)
    mount("-t", "tmpfs", "-o", "mode=755", "board", root / "dev")
    for device in ("null", "zero", "full", "urandom", "random", "tty"):
        (root / "dev" / device).touch()
        mount("--bind", f"/dev/{device}", root / "dev" / device)
    (root / "dev/fd").symlink_to("/proc/self/fd")
    (root / "dev/pts").mkdir()
    (root / "dev/shm").mkdir(mode=0o1777)
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "devpts", root / "dev/pts")
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    if runtimes == "bare":
        mount("-t", "tmpfs", "board", root / "usr/local/lib")
    if runtimes == "no-python":
        mount("--bind", "/dev/null", root / "usr/bin/python3.11")
    (root / "run/sshd").mkdir()
    (root / "run/board").mkdir()
    for name in ("host_key", "client_key.pub", "sshd_config"):
        (root / "run/board" / name).write_bytes((folder / name).read_bytes())
    (root / "run/board/host_key").chmod(0o600)
    mount("-o", "remount,bind,ro", root)


def register() -> None:
    """Lets ARM programs run: in this namespace alone where the kernel can, else Debian's registration must be there."""
    if subprocess.run(["mount", "-t", "binfmt_misc", "binfmt", BINFMT], capture_output=True).returncode == 0:
        for name in ("qemu-aarch64", "qemu-arm"):
            (BINFMT / "register").write_bytes(Path(f"/usr/lib/binfmt.d/{name}.conf").read_bytes().strip())


def start_sshd() -> None:
    """Becomes sshd's parent, which waits for every orphan, as the first process must."""
    if os.fork() == 0:
        sshd = "/usr/sbin/sshd"
        os.execve(sshd, [sshd, "-D", "-e", "-f", "/run/board/sshd_config"], {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    while True:
        try:
            os.wait()
        except ChildProcessError:
            sys.exit("sshd ended")


def mount(*arguments: str | Path) -> None:
    """The command, whose options are more readable than the system call's."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
