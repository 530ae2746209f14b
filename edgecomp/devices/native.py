"""Measures without Python: builds `device_scripts/native/` here, sends it with ONNX Runtime's library, and runs it.

The runner measures and collects facts. What only computes with them (statistics, the comparison with golden.npz) is
done here by the functions of `device_scripts/bench.py`, so that both have the same rules and the same kind of result.

It needs a compiler for the device: `EDGECOMP_CC` names it, else Debian's cross compiler is used. ONNX Runtime's library
comes from a folder (`--native`), from the wheel for the device's processor (`--offline`), or, if that is the same as
this machine's, from the installed package.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.resources
import importlib.util
import json
import os
import shlex
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecomp.arrays import Array
from edgecomp.devices import setup
from edgecomp.devices.device import Device
from edgecomp.devices.session import Ended, Payload
from edgecomp.errors import MissingToolchainError

if TYPE_CHECKING:
    from edgecomp.devices.measuring import Artifact, Job, Settings
    from edgecomp.devices.shell import ShellSession

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgecomp" / "native"
LIBRARY = "libonnxruntime.so"
SUFFIXES = (".onnx", ".ort")
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror=implicit-function-declaration")


@dataclass(frozen=True)
class Processor:
    """How to build programs for a kind of processor.

    Attributes:
        name: Its name in the tags of wheels.
        elf: Its number in the header of programs and libraries (e_machine of the ELF specification).
        compiler: Debian's cross compiler.
        package: The Debian package of the compiler.
    """

    name: str
    elf: int
    compiler: str
    package: str


_AARCH64 = Processor("aarch64", 183, "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
_ARMV7 = Processor("armv7l", 40, "arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf")
_X86_64 = Processor("x86_64", 62, "x86_64-linux-gnu-gcc", "gcc")
#: uname's machine -> the processor with a 64-bit userland, and with a 32-bit one.
_PROCESSORS: dict[str, tuple[Processor | None, Processor | None]] = {
    "aarch64": (_AARCH64, _ARMV7),
    "armv8l": (None, _ARMV7),
    "armv7l": (None, _ARMV7),
    "x86_64": (_X86_64, None),
}


class _LackingError(Exception):
    """What the native runner lacks, and how to get it."""

    def __init__(self, actual: str, cure: str) -> None:
        super().__init__(actual, cure)
        self.actual, self.cure = actual, cure


class NativeBench:
    """Measures on a device without Python.

    Args:
        job: The artifacts.
        settings: The settings.
        device: The device.
        session: An open session with the device.
        folder: For temporary files.

    Raises:
        MissingToolchainError: The compiler or the library is missing.
    """

    def __init__(self, job: Job, settings: Settings, device: Device, session: ShellSession, folder: Path) -> None:
        self._job, self._settings, self._device, self._folder = job, settings, device, folder
        self._reason, facts = session.reason, session.facts
        try:
            processor = _processor(facts)
            self._common = {
                "runner": Payload.of(_runner(processor, facts)),
                LIBRARY: Payload.of(_library(device, processor, facts, settings, folder)),
            }
        except _LackingError as lacking:
            raise MissingToolchainError(
                f"device {device.name}",
                expected=f"{self._reason.expected} there, or a C compiler and ONNX Runtime for the native runner",
                actual=f"{self._reason.actual}; {lacking.actual}",
                cure=f"{self._reason.cure}; or, for the native runner, {lacking.cure}",
            ) from None
        self._golden = {artifact.name: _golden(job, artifact) for artifact in job.artifacts}
        self._inputs = {name: self._raw_inputs(name, golden) for name, golden in self._golden.items()}

    def files(self, artifact: Artifact) -> dict[str, Payload]:
        """Returns the files that the command needs, by name."""
        inputs = {payload.path.name: payload for payload, _ in self._inputs[artifact.name]}
        return {**self._common, artifact.name: artifact.payload, **inputs}

    def command(self, artifact: Artifact) -> list[str]:
        """Returns the command that measures an artifact."""
        settings, threads = self._settings, self._device.threads or self._settings.threads
        words = ["./runner", f"./{artifact.name}", "--progress", "--leash", "--outputs"]
        words += ["--runs", str(settings.runs), "--warmup", str(settings.warmup), "--threads", str(threads)]
        for payload, shape in self._inputs[artifact.name]:
            words += ["--input", payload.path.name, "x".join(map(str, shape))]
        return words

    def takes(self, artifact: Artifact) -> MissingToolchainError | None:
        """Returns why the runner cannot measure an artifact, or None."""
        if artifact.payload.path.suffix.lower() in SUFFIXES:
            return None
        return MissingToolchainError(
            f"the runtime for {artifact.name}",
            expected="Python, or an .onnx or .ort file",
            actual=f"{self._reason.actual}, and the native runner has ONNX Runtime alone",
            cure=self._reason.cure,
        )

    def answer(self, ended: Ended, artifact: Artifact) -> str:
        """Returns the JSON document in the form of bench.py, from the runner's output."""
        line, _, data = ended.stdout.partition(b"\n")
        text = line.decode("utf-8", "replace")
        if ended.code != 0:
            return text
        return json.dumps(_completed(json.loads(text), data, artifact.payload, self._golden[artifact.name]))

    def _raw_inputs(self, name: str, golden: Mapping[str, Any] | None) -> list[tuple[Payload, tuple[int, ...]]]:
        """Writes an artifact's inputs as files for the runner, and returns these with their shapes."""
        made = []
        for index, array in enumerate(golden["inputs"] if golden else ()):
            path = self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:8]}-{index}.bin"
            np.ascontiguousarray(array).tofile(path)
            made.append((Payload.of(path), array.shape))
        return made


def _bench() -> Any:
    """Returns `device_scripts/bench.py`, which edgecomp does not import statically."""
    return importlib.import_module("edgecomp.device_scripts.bench")


def _golden(job: Job, artifact: Artifact) -> dict[str, Any] | None:
    if job.golden is None or artifact.payload.path.suffix.lower() not in SUFFIXES:
        return None
    found: dict[str, Any] = _bench().read_golden(str(job.golden.path), artifact.name)
    return found


def _completed(
    document: dict[str, Any], data: bytes, model: Payload, golden: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Adds to the runner's document what bench.py reports besides.

    Args:
        document: The runner's document.
        data: The outputs' raw bytes, one after the other.
        model: The artifact.
        golden: Expected outputs.
    """
    bench = _bench()
    facts = dict(document["machine"])
    cpu = bench.cpu(facts.pop("cpuinfo")) | {"count": facts.pop("count"), "usable": facts.pop("usable")}
    tensors = document["model"]["outputs"]
    runs = _arrays(tensors, data)  # of the timed session; on x86, also of one with exact kernels
    names = [tensor["name"] for tensor in tensors]
    checked = [] if golden is None else [bench.check_outputs(names, outputs, golden) for outputs in runs]
    agrees = [all(output["agrees"] for output in outputs) for outputs in checked]
    return document | {
        "model": {**document["model"], "size": model.size, "sha256": model.sha256},
        "machine": {**facts, "cpu": cpu, "python": None, "numpy": None},
        "latency_ms": bench.summarize(document["samples_ms"]),
        "steady_state": bench.steady_state(document["samples_ms"]),
        "golden": {"agrees": agrees[-1], "agrees_as_timed": agrees[0], "outputs": checked[-1]} if checked else None,
    }


def _arrays(tensors: Sequence[Mapping[str, Any]], data: bytes) -> list[list[Array]]:
    """Splits the raw bytes of all outputs into arrays, for each session."""
    runs: list[list[Array]] = []
    at = 0
    while at < len(data) or not runs:
        runs.append([])
        for tensor in tensors:
            dtype, shape = np.dtype(tensor["dtype"]), tuple(tensor["shape"])
            count = int(np.prod(shape, dtype=np.int64))
            runs[-1].append(np.frombuffer(data, dtype, count, at).reshape(shape))
            at += count * dtype.itemsize
    return runs


def _processor(facts: Mapping[str, Any]) -> Processor:
    found = _PROCESSORS.get(facts["machine"], (None, None))[facts["userland_bits"] == 32]
    if found is None:
        raise _LackingError(
            f"it is a {facts['machine']} with {facts['userland_bits']} bits, which the runner is not built for",
            "there is no remedy yet",
        )
    return found


def _runner(processor: Processor, facts: Mapping[str, Any]) -> Path:
    """Returns the program for a processor, from a cache keyed by its sources and its compiler."""
    command = _compiler(processor, facts)
    sources = importlib.resources.files("edgecomp.device_scripts").joinpath("native")
    files = sorted(entry.name for entry in sources.iterdir() if entry.name.endswith((".c", ".h")))
    content = b"".join(sources.joinpath(name).read_bytes() for name in files)
    made = CACHE / f"runner-{hashlib.sha256(content + shlex.join(command).encode()).hexdigest()[:16]}"
    if made.exists():
        return made
    CACHE.mkdir(parents=True, exist_ok=True)
    partial = made.with_suffix(f".{os.getpid()}")
    with importlib.resources.as_file(sources) as folder:
        inputs = [str(folder / name) for name in files if name.endswith(".c")]
        done = subprocess.run(
            [*command, *_FLAGS, "-o", str(partial), *inputs, "-ldl"], capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        words = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise _LackingError(f"{shlex.join(command)} cannot build it: {words}", "fix what the compiler reports")
    partial.replace(made)
    return made


def _compiler(processor: Processor, facts: Mapping[str, Any]) -> list[str]:
    chosen = shlex.split(os.environ.get("EDGECOMP_CC", ""))
    if not chosen and facts["libc"] == "bionic":
        raise _LackingError(
            "an Android device needs the NDK's compiler",
            "set EDGECOMP_CC=NDK/toolchains/llvm/prebuilt/linux-x86_64/bin/aarch64-linux-android26-clang",
        )
    command = chosen or [processor.compiler]
    if shutil.which(command[0]) is None:
        raise _LackingError(
            f"no compiler {command[0]} here",
            f"run `apt install {processor.package}`, or set EDGECOMP_CC to another compiler for {processor.name}",
        )
    return command


def _library(device: Device, processor: Processor, facts: Mapping[str, Any], settings: Settings, folder: Path) -> Path:
    """Returns the first copy of ONNX Runtime's library that fits a processor."""
    for path in _libraries(device, facts, settings, folder):
        if _elf_machine(path) == processor.elf:
            return path
    raise _LackingError(
        f"no {LIBRARY} for {processor.name}",
        "give --native FOLDER with it (an Android phone's is in ONNX Runtime's AAR, in jni/arm64-v8a), or --offline "
        "FOLDER, which takes it out of the wheel",
    )


def _libraries(device: Device, facts: Mapping[str, Any], settings: Settings, folder: Path) -> Iterator[Path]:
    if settings.native is not None:
        yield from sorted(path for path in settings.native.rglob(f"{LIBRARY}*") if path.is_file())
    if settings.wheels is not None and facts["libc"] != "bionic":
        # The library in the wheel is the same for every Python version.
        described = {**facts, "python": "3.11", "libc": "glibc-2.28"}
        for wheel in setup.fetch(settings.wheels, device, described, ["onnxruntime"]):
            if wheel.name.startswith("onnxruntime-"):
                yield _unpacked(wheel, folder)
    installed = importlib.util.find_spec("onnxruntime")
    if installed is not None and installed.origin is not None and facts["libc"] != "bionic":
        yield from sorted(Path(installed.origin).parent.glob(f"capi/{LIBRARY}*"))


def _unpacked(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if f"/{LIBRARY}" in name)
        made = folder / LIBRARY
        with archive.open(name) as source, made.open("wb") as target:
            shutil.copyfileobj(source, target)
    return made


def _elf_machine(path: Path) -> int | None:
    with path.open("rb") as file:
        header = file.read(20)
    return struct.unpack_from("<H", header, 18)[0] if header[:4] == b"\x7fELF" else None
