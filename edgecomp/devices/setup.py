"""Installs the runtimes that a target profile recommends on its device, from the network or from local wheels."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from edgecomp.devices.device import Device
from edgecomp.devices.session import Payload, Session
from edgecomp.errors import DeviceError, PromiseError
from edgecomp.target import Runtime, TargetProfile

#: uname's machine -> architecture of its wheels for a 64-bit userland; 32-bit ARM is always armv7l.
_ARCHITECTURES = {"aarch64": "aarch64", "arm64": "aarch64", "x86_64": "x86_64", "AMD64": "x86_64"}
_OLDEST_GLIBC = 17


def requirements(profile: TargetProfile, formats: Sequence[str]) -> list[str]:
    """Returns pip requirements: the versions of the profile, without those that are known not to work there.

    Args:
        profile: The device's profile.
        formats: The formats of the artifacts; those without a wheel for the device are skipped.
    """
    return [
        _requirement(profile.runtimes[name])
        for name in formats
        if name in profile.runtimes and profile.runtimes[name].wheel
    ]


def _requirement(runtime: Runtime) -> str:
    if runtime.version is not None:
        return f"{runtime.package}=={runtime.version}"
    return runtime.package + ",".join(f"!={bad.version}" for bad in runtime.known_bad)


def set_up(
    session: Session, device: Device, wanted: Sequence[str], wheels: Path | None, told: Callable[[str], None]
) -> None:
    """Runs `device_scripts/setup.sh` on a device, unless everything is installed already.

    Args:
        session: With the device, locked.
        device: The device.
        wanted: Requirements.
        wheels: A folder on this machine for wheels, which are downloaded if they are not there; None lets the device
            download them.
        told: Called with a description of each step.

    Raises:
        DeviceError: The setup failed there.
        PromiseError: The wheels could not be downloaded.
    """
    script = {"setup.sh": Payload.of(Path(str(resources.files("edgecomp.device_scripts").joinpath("setup.sh"))))}
    session.push(list(script.values()))
    told("look at its runtimes")
    if session.run(script, ["sh", "setup.sh", "--check", *wanted], lambda line: None).code == 0:
        return
    files, options = dict(script), []
    if wheels is not None:
        told("fetch wheels")
        files |= {path.name: Payload.of(path) for path in fetch(wheels, device, session.facts, wanted)}
        session.push(list(files.values()), lambda done, total: told(f"send wheels, {done * 100 // total} %"))
        options = ["--wheels", "."]
    told("install runtimes")
    ended = session.run(files, ["sh", "setup.sh", *options, *wanted], lambda line: None)
    session.drop([file for name, file in files.items() if name not in script])
    if ended.code != 0:
        raise DeviceError(
            f"device {device.name}",
            expected=f"a device that takes {', '.join(wanted)}",
            actual=" | ".join(ended.stderr[-4:]) or f"setup.sh ended with exit code {ended.code}",
            cure="fix what it reports; without a network on the device, give --offline FOLDER",
        )


def fetch(folder: Path, device: Device, facts: Mapping[str, Any], wanted: Sequence[str]) -> list[Path]:
    """Returns wheels for a device, with pip and all dependencies, from a folder for devices of this kind.

    Args:
        folder: Where wheels are kept; only missing ones are downloaded.
        device: The device.
        facts: The agent's facts: Python, machine, bits, C library.
        wanted: Requirements.

    Raises:
        PromiseError: pip finds no wheel.
    """
    minor = facts["python"].split(".")[1]
    small = facts["userland_bits"] == 32
    architecture = "armv7l" if small else _ARCHITECTURES.get(facts["machine"], facts["machine"])
    place = folder / f"python3.{minor}-{architecture}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "pip", *wanted]
    command += [f"--python-version=3.{minor}"]
    command += [f"--platform={tag}_{architecture}" for tag in _tags(facts["libc"])]
    command += ["--no-deps"] * small  # its numpy comes from the system: see setup.sh
    place.mkdir(parents=True, exist_ok=True)
    # The folder is tried first, so that nothing is downloaded if everything is there. What pip copies is what is
    # needed.
    for fetching in (False, True):
        with tempfile.TemporaryDirectory() as copies:
            if fetching:
                done = subprocess.run([*command, f"--dest={place}"], capture_output=True, text=True, check=False)
            kept = [*command, "--no-index", f"--find-links={place}", f"--dest={copies}"]
            if subprocess.run(kept, capture_output=True, check=False).returncode == 0:
                return sorted(place / path.name for path in Path(copies).iterdir())
    raise PromiseError(
        f"wheels for {device.name}",
        expected=f"{', '.join(wanted)} for Python 3.{minor} on {architecture} in {place}",
        actual=(done.stderr.strip().splitlines() or ["pip said nothing"])[-1],
        cure="run it once with a network, or put the wheels there",
    )


def _tags(libc: str) -> list[str]:
    """Returns the platform tags of wheels, without the architecture: one for each glibc up to the device's."""
    found = re.fullmatch(r"glibc-2\.(\d+)", libc)
    newest = int(found[1]) if found else _OLDEST_GLIBC
    return ["manylinux2014", *(f"manylinux_2_{minor}" for minor in range(_OLDEST_GLIBC, newest + 1))]
