"""Names of devices, on the command line and in farm files.

    local                           this machine
    ssh://[user@]host[:port]        a board that OpenSSH's client reaches by that name
    adb[:serial]                    an Android device
    emulated:CORE                   ARM code under QEMU, counted instead of timed

A farm file is TOML, with a table for each device:

    [devices.pi4]
    url = "ssh://pi@raspberrypi.local"
    target = "raspberry-pi-4b"      # optional, as are the rest
    python = "/opt/python/bin/python3"
    threads = 4
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgecomp.errors import InputError, SourceError, correction

EXPECTED = "local, ssh://[user@]host[:port], adb[:serial], emulated:CORE, or a farm file"


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
        name: Its name in tables and result files.
        url: Its address, as above.
        target: Name of its target profile, if known.
        python: The Python that has the runtimes, if not the one of `setup.sh` or the first on the PATH.
        threads: Threads to measure with, if not those of the command line.
    """

    name: str
    url: str
    target: str | None = None
    python: str | None = None
    threads: int | None = None

    @property
    def scheme(self) -> str:
        """The part before the colon: "local", "ssh", "adb" or "emulated"."""
        return self.url.partition(":")[0]

    @property
    def rest(self) -> str:
        """The part after the colon."""
        return self.url.partition(":")[2]


@dataclass(frozen=True)
class SshAddress:
    """An ssh destination; None leaves a part to OpenSSH's configuration."""

    host: str
    user: str | None
    port: int | None


def parse_devices(words: Sequence[str]) -> list[Device]:
    """Parses the devices of `--device`; a word that ends in .toml is a farm file.

    Raises:
        InputError: A word is not a device, or a device is named twice.
        SourceError: A farm file is missing or wrong.
    """
    devices: list[Device] = []
    for word in words:
        devices += _read_farm(Path(word)) if word.endswith(".toml") else [parse_device(word)]
    names = [device.name for device in devices]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"device {name}",
                expected="each device once",
                actual=f"it is named {names.count(name)} times",
                cure="leave one of them out; two measurements at once on a device disturb each other",
            )
    return devices


def parse_device(url: str, name: str | None = None, **settings: Any) -> Device:
    """Parses the address of one device.

    Raises:
        InputError: It is not the address of a device.
    """
    device = Device(name or "", url, **settings)
    if device.scheme == "ssh":
        address = ssh_address(url)
        default = address.host + (f"-{address.port}" if address.port else "")
    elif url in ("local", "adb") or (device.scheme in ("adb", "emulated") and device.rest):
        default = url.replace(":", "-")
    else:
        raise InputError(f"device {url!r}", expected=EXPECTED, actual="something else", cure="correct --device")
    return dataclasses.replace(device, name=name or re.sub(r"[^A-Za-z0-9._-]", "_", default))


def ssh_address(url: str) -> SshAddress:
    """Parses an ssh:// address.

    Raises:
        InputError: It has a password or a path, no host, or a part that ssh would take for an option.
    """
    problem = None
    try:
        parts = urlsplit(url)
        host, user, port = parts.hostname, parts.username, parts.port
    except ValueError as error:
        raise _bad_address(url, str(error)) from None
    if parts.password is not None:
        problem = "a password, which every user of this machine can read while edgecomp runs"
    elif not host or host.startswith("-") or (user or "").startswith("-"):
        problem = "no host name"
    elif parts.path.strip("/") or parts.query or parts.fragment or re.search(r"[\s\x00-\x1f]", url):
        problem = "something behind the host, or a space"
    if problem is not None or host is None:
        raise _bad_address(re.sub(r":[^@/]*@", ":...@", url), problem or "no host name")
    # urlsplit lowercases names, but OpenSSH's configuration distinguishes Pi4 from pi4.
    written = parts.netloc.rpartition("@")[2]
    start = written.lower().find(host)
    return SshAddress(written[start : start + len(host)], user, port)


def _bad_address(url: str, problem: str) -> InputError:
    return InputError(
        f"device {url!r}",
        expected="ssh://[user@]host[:port]",
        actual=problem,
        cure="correct it; keys, jump hosts and the like belong in ~/.ssh/config",
    )


def _read_farm(path: Path) -> list[Device]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        if not isinstance(tables := content.get("devices"), dict):
            raise ValueError(f"no table devices, but {', '.join(content) or 'nothing'}")
        return [_farm_device(name, dict(table)) for name, table in tables.items()]
    except OSError as error:
        problem, cure = error.strerror or str(error), "check the path"
    except (ValueError, KeyError, TypeError) as error:
        problem, cure = f"{type(error).__name__}: {error}", "correct it; docs/boards.md has an example"
    raise SourceError(
        f"farm file {path}",
        expected='a table for each device: [devices.NAME] with url = "ssh://...", and target, python, threads',
        actual=problem,
        cure=cure,
    )


_FARM_KEYS = {"url": str, "target": str, "python": str, "threads": int}


def _farm_device(name: str, table: dict[str, Any]) -> Device:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise ValueError(f"the name {name!r}: letters, digits, dots, hyphens and underscores are expected")
    for key, value in table.items():
        if key not in _FARM_KEYS:
            raise ValueError(f"unknown key {key!r} in devices.{name}; {correction(key, _FARM_KEYS)}")
        if type(value) is not _FARM_KEYS[key] or not value or (isinstance(value, int) and value < 0):
            raise ValueError(f"{key} = {value!r} in devices.{name}")
    return parse_device(table.pop("url"), name, **table)
