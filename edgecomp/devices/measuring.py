"""Measures the artifacts of a result folder on several devices at once."""

from __future__ import annotations

import getpass
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, Protocol

from edgecomp import manifest
from edgecomp.artifact import find_converter
from edgecomp.benchmark import Circumstances, read_answer
from edgecomp.devices import adb, emulated, local, results, setup, ssh
from edgecomp.devices.connection import Connection
from edgecomp.devices.device import Device
from edgecomp.devices.native import NativeBench
from edgecomp.devices.results import ArtifactResult, DeviceResult
from edgecomp.devices.session import Ended, Payload, Session
from edgecomp.devices.shell import Shell, ShellSession
from edgecomp.errors import DeviceError, EdgecompError, InputError, LinkError, NoPythonError
from edgecomp.target import TargetProfile, load_target
from edgecomp.verification.golden import FILE as GOLDEN

Json = Mapping[str, Any]
#: Device, stage, done, total.
Progress = Callable[[Device, str, int, int], None]


@dataclass(frozen=True)
class Artifact:
    """A file to measure.

    Attributes:
        payload: The file.
        format: The converter's name.
        precision: The precision in the manifest; None without a manifest.
    """

    payload: Payload
    format: str
    precision: str | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self.payload.path.name


@dataclass(frozen=True)
class Job:
    """The artifacts to measure.

    Attributes:
        folder: The folder of the artifacts, which also gets the results.
        artifacts: The files.
        golden: Inputs and expected outputs; None if there are none.
        target: The target that the artifacts were made for; None if unknown.
    """

    folder: Path
    artifacts: tuple[Artifact, ...]
    golden: Payload | None
    target: str | None


@dataclass(frozen=True)
class Settings:
    """The settings of a measurement.

    Attributes:
        runs: Timed inferences.
        warmup: Inferences before them.
        threads: Threads of the runtime, unless the device sets them.
        profile: Whether to time each operator too.
        ssh_config: An OpenSSH client configuration instead of the user's.
        setup: Whether to install the runtimes of the device's target profile first.
        wheels: A folder of wheels on this machine to install them from; implies `setup`.
        native: A folder with ONNX Runtime's library for devices without Python.
        sysroot: The root file system of emulated devices.
        patience: Seconds to keep trying to reconnect to a device that was lost during a measurement.
    """

    runs: int = 50
    warmup: int = 10
    threads: int = 1
    profile: bool = False
    ssh_config: Path | None = None
    setup: bool = False
    wheels: Path | None = None
    native: Path | None = None
    sysroot: Path | None = None
    patience: float = 60.0


def job_of(source: Path, formats: Sequence[str] | None = None) -> Job:
    """Lists what to measure in a result folder, or for a single artifact.

    Args:
        source: The folder, or a `.tflite`, `.onnx`, `.ort` or `.mnn` file.
        formats: Names of the converters to include, or None for all.

    Raises:
        SourceError: It is neither, or an artifact has changed since it was verified.
        InputError: There is no artifact of a format.
    """
    if source.is_dir():
        document = manifest.read(source)
        artifacts = tuple(_verified(source, entry) for entry in document["artifacts"])
        folder, target = source, document.get("target")
    else:
        artifacts, folder, target = (_single(source),), source.parent, None
    missing = sorted(set(formats or ()) - {artifact.format for artifact in artifacts})
    if missing:
        raise InputError(
            f"formats {', '.join(missing)}",
            expected=f"formats of {source}: {', '.join(artifact.format for artifact in artifacts)}",
            actual="it has no such artifact",
            cure="correct --formats, or write that format with `edgecomp compress --formats`",
        )
    golden = folder / GOLDEN
    return Job(
        folder,
        tuple(artifact for artifact in artifacts if not formats or artifact.format in formats),
        Payload.of(golden) if golden.exists() else None,
        target,
    )


def _verified(folder: Path, entry: dict[str, Any]) -> Artifact:
    return Artifact(Payload.of(manifest.verified_path(folder, entry)), entry["format"], entry.get("precision"))


def _single(path: Path) -> Artifact:
    converter = find_converter(path)
    return Artifact(Payload.of(path), converter.name)


@dataclass
class Measuring:
    """A measurement on several devices at once.

    Args:
        job: The artifacts.
        settings: The settings.
        progress: Called with the progress of each device, from several threads.
    """

    job: Job
    settings: Settings
    progress: Progress = lambda device, stage, done, total: None
    _open: set[Session | ShellSession] = field(default_factory=set, init=False)
    _guard: Lock = field(default_factory=Lock, init=False)
    _stopped: bool = field(default=False, init=False)

    def run(self, devices: Sequence[Device]) -> Iterator[DeviceResult]:
        """Yields each device's result when it is done. At the end, nothing keeps running on the devices."""
        with ThreadPoolExecutor(max_workers=len(devices)) as pool:
            try:
                for future in as_completed([pool.submit(self._device, device) for device in devices]):
                    yield future.result()
            finally:
                self.stop()

    def stop(self) -> None:
        """Ends everything that runs on the devices."""
        with self._guard:
            self._stopped = True
            sessions = list(self._open)
        for session in sessions:
            session.close()

    def _device(self, device: Device) -> DeviceResult:
        """Measures all artifacts on one device; if the connection is lost and comes back, continues where it was."""
        result = DeviceResult(device, started=results.now(), target=device.target or self.job.target)
        end = None
        while True:
            before = len(result.artifacts)
            try:
                for grown in self._artifacts(device, result):
                    result = grown
                return result
            except EdgecompError as error:
                if end is None or len(result.artifacts) > before:
                    end = time.monotonic() + self.settings.patience
                # A board that was reached and lost may come back: while it reboots, nothing answers there.
                reached = bool(result.facts) and isinstance(error, LinkError | DeviceError)
                if not reached or self._stopped or time.monotonic() > end:
                    return replace(result, error=error)
                time.sleep(min(2.0, self.settings.patience / 10))

    def _artifacts(self, device: Device, result: DeviceResult) -> Iterator[DeviceResult]:
        """Yields the result again after each artifact."""
        profile = None if result.target is None else load_target(result.target)
        with self._session(device) as session, TemporaryDirectory() as folder:
            session.lock(f"{getpass.getuser()} on {platform.node()}")
            bench: Bench
            if isinstance(session, ShellSession):
                self.progress(device, "build the native runner", 0, 1)
                bench = NativeBench(self.job, self.settings, device, session, Path(folder))
            else:
                bench = ScriptBench(self.job, self.settings, device)
                if self.settings.setup or self.settings.wheels:
                    self._set_up(session, device, profile)
            files = {file for artifact in self.job.artifacts for file in bench.files(artifact).values()}
            in_order = sorted(files, key=lambda file: file.size)
            sent = session.push(in_order, lambda done, total: self.progress(device, "send", done, total))
            result = replace(result, facts=session.facts, sent=result.sent + sent)
            yield result
            for artifact in self.job.artifacts[len(result.artifacts) :]:
                found = self._measure(session, device, artifact, bench, profile)
                result = replace(result, artifacts=(*result.artifacts, found))
                yield result

    def _set_up(self, session: Session, device: Device, profile: TargetProfile | None) -> None:
        if profile is None:
            raise InputError(
                f"device {device.name}",
                expected="a target, whose profile says which runtimes it gets",
                actual="neither the folder nor a farm file names one",
                cure="describe the device in a farm file with `target = NAME`",
            )
        wanted = setup.requirements(profile, [artifact.format for artifact in self.job.artifacts])
        setup.set_up(session, device, wanted, self.settings.wheels, lambda words: self.progress(device, words, 0, 1))

    @contextmanager
    def _session(self, device: Device) -> Iterator[Session | ShellSession]:
        session = self._opened(device)
        with self._guard:
            self._open.add(session)
            stopped = self._stopped
        try:
            if stopped:
                raise ssh.lost(device, "stopped")
            yield session
        finally:
            session.close()
            with self._guard:
                self._open.discard(session)

    def _opened(self, device: Device) -> Session | ShellSession:
        """Opens a session with the agent if the device has Python, else with its shell."""
        scheme = SCHEMES[device.scheme]
        try:
            return Session(device, scheme.connect(device, self.settings))
        except NoPythonError as reason:
            if scheme.shell is None:
                raise
            return ShellSession(device, scheme.shell(device, self.settings), reason)

    def _measure(
        self,
        session: Session | ShellSession,
        device: Device,
        artifact: Artifact,
        bench: Bench,
        profile: TargetProfile | None,
    ) -> ArtifactResult:
        stages: list[dict[str, Any]] = []

        def on_line(line: str) -> None:
            if line.startswith("@ "):
                stages.append(json.loads(line[2:]))
                words = f"{artifact.name}: {stages[-1]['stage']}"
                self.progress(device, words, stages[-1].get("done", 0), stages[-1].get("total", 1))

        made = ArtifactResult(artifact.name, artifact.format, artifact.precision, artifact.payload.sha256)
        refusal = bench.takes(artifact)
        if refusal is not None:
            return replace(made, error=refusal.as_dict())
        ended = session.run(bench.files(artifact), bench.command(artifact), on_line)
        try:
            measured = read_answer(
                ended.code,
                bench.answer(ended, artifact),
                "\n".join(line for line in ended.stderr if not line.startswith("@ ")).encode(),
                artifact.payload.path,
                Circumstances.on_board(device.name, stages, profile.runtimes.get(artifact.format) if profile else None),
            )
        except EdgecompError as error:
            return replace(made, error=error.as_dict())
        return replace(made, result=SCHEMES[device.scheme].finish(measured.raw, stages))


class Bench(Protocol):
    """The program that measures an artifact on a device."""

    def files(self, artifact: Artifact) -> dict[str, Payload]:
        """Returns the files that the command needs, by name."""

    def command(self, artifact: Artifact) -> list[str]:
        """Returns the command that measures it."""

    def takes(self, artifact: Artifact) -> EdgecompError | None:
        """Returns why it cannot measure an artifact, or None."""

    def answer(self, ended: Ended, artifact: Artifact) -> str:
        """Returns the JSON document of `device_scripts/bench.py`, from the command's output."""


class ScriptBench:
    """Measures with `device_scripts/bench.py`.

    Args:
        job: The artifacts.
        settings: The settings.
        device: The device.
    """

    def __init__(self, job: Job, settings: Settings, device: Device) -> None:
        script = resources.files("edgecomp.device_scripts").joinpath("bench.py")
        self._common = {"bench.py": Payload.of(Path(str(script)))} | ({GOLDEN: job.golden} if job.golden else {})
        self._job, self._settings, self._device = job, settings, device

    def files(self, artifact: Artifact) -> dict[str, Payload]:
        """See `Bench`."""
        return {**self._common, artifact.name: artifact.payload}

    def command(self, artifact: Artifact) -> list[str]:
        """See `Bench`."""
        settings, device = self._settings, self._device
        words = [*SCHEMES[device.scheme].python(device, settings), "bench.py", f"./{artifact.name}", "--progress"]
        words += [f"--runs={settings.runs}", f"--warmup={settings.warmup}"]
        words += [f"--threads={device.threads or settings.threads}"]
        words += [f"--golden={GOLDEN}"] if self._job.golden else []
        return words + ["--profile"] * settings.profile + ["--marks"] * (device.scheme == "emulated")

    def takes(self, artifact: Artifact) -> EdgecompError | None:
        """See `Bench`; missing runtimes are only noticed when it runs."""
        return None

    def answer(self, ended: Ended, artifact: Artifact) -> str:
        """See `Bench`."""
        return ended.stdout.decode("utf-8", "replace")


@dataclass(frozen=True)
class Scheme:
    """The functions for one kind of device.

    Attributes:
        connect: Starts the agent.
        python: Returns the command of the Python that has the runtimes.
        finish: Turns bench.py's result, and the progress that it reported, into the stored result.
        shell: Opens a shell on devices without Python; None if all of them have it.
    """

    connect: Callable[[Device, Settings], Connection]
    python: Callable[[Device, Settings], list[str]]
    finish: Callable[[Json, Sequence[Json]], Json] = lambda result, stages: result
    shell: Callable[[Device, Settings], Shell] | None = None


SCHEMES = {
    "local": Scheme(
        connect=lambda device, settings: local.connect(device),
        python=lambda device, settings: [device.python or local.PYTHON],
    ),
    "ssh": Scheme(
        connect=lambda device, settings: ssh.connect(device, settings.ssh_config),
        python=lambda device, settings: [device.python or "@python"],
        shell=lambda device, settings: ssh.SshShell(device, settings.ssh_config),
    ),
    "adb": Scheme(
        connect=lambda device, settings: adb.connect(device),
        python=lambda device, settings: [device.python or "@python"],
        shell=lambda device, settings: adb.AdbShell(device),
    ),
    "emulated": Scheme(
        connect=lambda device, settings: emulated.connect(device),
        python=lambda device, settings: emulated.python(device, settings.sysroot),
        finish=emulated.counted,
    ),
}
