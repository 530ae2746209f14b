"""ARM code under QEMU's user mode, counted instead of timed: `emulated:cortex-a76`.

The count is real: the instructions that the unmodified ARM runtime executes in one inference, the same every time
except for a few in ten thousand. How long a core takes for them is not known, so no time of such a run is kept. It
needs `qemu-aarch64` with plugins (Debian: qemu-user), a C compiler, and a root file system with an ARM Python and the
runtimes (`--sysroot`).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import os
import shutil
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecomp.devices import local
from edgecomp.devices.connection import Connection
from edgecomp.devices.cores import CORES
from edgecomp.devices.device import Device
from edgecomp.errors import DeviceError, InputError, MissingToolchainError, correction

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgecomp" / "emulated"
#: Empty measurements that `bench.py --marks` makes before the first inference.
EMPTY_COUNTS = 3
#: The parts of bench.py's result that are not times.
_KEPT = ("schema", "model", "runtime", "settings", "machine", "golden")


def connect(device: Device) -> Connection:
    """Starts the agent on this machine, with separate files and a lock for each core."""
    place = CACHE / device.rest.replace("/", "_") / "board"
    (place / "tmp").mkdir(parents=True, exist_ok=True)
    return local.connect(device, XDG_CACHE_HOME=str(place), TMPDIR=str(place / "tmp"))


def python(device: Device, sysroot: Path | None) -> list[str]:
    """Returns the command that runs an ARM Python with the plugin.

    Args:
        device: An emulated device.
        sysroot: A root file system with usr/bin/python3 and the runtimes.

    Raises:
        InputError: The core is not known here.
        DeviceError: The root file system lacks Python, or none is given.
        MissingToolchainError: QEMU or a C compiler is missing.
    """
    known = [core.name for core in CORES.values() if core.architecture == 8]
    if device.rest not in known:
        raise InputError(
            f"device {device.url}",
            expected=f"one of {', '.join(known)}",
            actual=device.rest,
            cure=correction(device.rest, known, "choose one from the list"),
        )
    interpreter = next(iter(sorted(sysroot.glob("usr/bin/python3.[0-9]*"))), None) if sysroot else None
    if sysroot is None or interpreter is None:
        raise DeviceError(
            f"device {device.url}",
            expected="--sysroot: an aarch64 root file system with Python and the runtimes",
            actual="none" if sysroot is None else f"no usr/bin/python3.N in {sysroot}",
            cure="build one with `make sysroot`, which says where it is",
        )
    packages = sysroot.absolute() / "usr/local/lib" / interpreter.name / "dist-packages"
    environment = {"PYTHONPATH": str(packages), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    return [
        *(_tool("qemu-aarch64", "qemu-user"), "-cpu", device.rest, "-plugin", str(_plugin())),
        *("-L", str(_view(sysroot.absolute(), device.rest))),
        *(word for name, value in environment.items() for word in ("-E", f"{name}={value}")),
        str(interpreter.absolute()),
    ]


def counted(result: Mapping[str, Any], stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Replaces the times of a result by instructions.

    Args:
        result: The output of bench.py.
        stages: The lines of its progress, which include the plugin's.
    """
    counts = [stage["instructions"] for stage in stages if stage["stage"] == "count"]
    marks = min(counts[:EMPTY_COUNTS])
    samples = [count - marks for count in counts[-result["settings"]["runs"] :]]
    figures = {"median": int(statistics.median(samples)), "min": min(samples), "max": max(samples), "samples": samples}
    return {key: result[key] for key in _KEPT} | {"emulated_instructions": figures, "profile": None}


@functools.cache
def _plugin() -> Path:
    """Returns the compiled plugin, from a cache keyed by its source."""
    source = importlib.resources.files("edgecomp.devices").joinpath("count_instructions.c").read_bytes()
    made = CACHE / f"count-{hashlib.sha256(source).hexdigest()[:16]}.so"
    if not made.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = made.with_suffix(f".{os.getpid()}")
        command = [_tool("cc", "gcc"), "-shared", "-fPIC", "-O2", "-x", "c", "-o", str(partial), "-"]
        subprocess.run(command, input=source, check=True)
        partial.replace(made)
    return made


def _view(sysroot: Path, core: str) -> Path:
    """Returns the root file system with the /proc/cpuinfo of a board with this core."""
    view = CACHE / core / hashlib.sha256(str(sysroot).encode()).hexdigest()[:16]
    (view / "proc").mkdir(parents=True, exist_ok=True)
    (view / "proc/cpuinfo").write_text(CORES[core].cpuinfo)
    for entry in sysroot.iterdir():
        if entry.name != "proc" and not (view / entry.name).is_symlink():
            (view / entry.name).symlink_to(entry)
    return view


def _tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingToolchainError(
            f"emulation with {name}",
            expected=f"the command {name}",
            actual="it is not on the PATH",
            cure=f"install it (`apt install {package}`)",
        )
    return found
