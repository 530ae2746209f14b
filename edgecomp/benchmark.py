"""Measures an artifact on this machine, with the same script that runs on boards, and compares measurements."""

from __future__ import annotations

import importlib.resources
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecomp.errors import DataError, EdgecompError, InputError, MissingToolchainError, PromiseError, SourceError
from edgecomp.target import Runtime

#: The schema that `device_scripts/bench.py` writes; older schemas are read too.
SCHEMA = 1

#: The script's kinds of errors -> the error class and the cure for the user.
_KINDS: dict[str, tuple[type[EdgecompError], str]] = {
    "bad-model": (SourceError, "check that the file is complete; write it again if it is not"),
    "bad-golden": (DataError, "give the golden.npz that was written together with the artifact"),
    "usage": (InputError, "give an artifact that edgecomp wrote, and positive numbers"),
}
_PACKAGES = {".tflite": "ai-edge-litert", ".onnx": "onnxruntime", ".ort": "onnxruntime", ".mnn": "MNN"}
_CRASHES = {
    "SIGILL": "the runtime was built for instructions that this CPU does not have; install another version of it",
    "SIGKILL": "most likely the system ran out of memory; free some, or take a smaller model",
    "SIGSEGV": "the artifact is damaged or the runtime has a bug; write it again, or install another version",
    "SIGABRT": "the artifact is damaged or the runtime has a bug; write it again, or install another version",
    "SIGBUS": "the artifact changed or its disk failed while it was read; write it again",
}


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference: minimum, percentiles, mean and sample standard deviation."""

    min: float
    p50: float
    p90: float
    p95: float
    p99: float
    mean: float
    std: float


@dataclass(frozen=True)
class Measurement:
    """The result of `device_scripts/bench.py`.

    Attributes:
        latency: Summary of `samples`.
        samples: Milliseconds of each timed inference, in order.
        steady: Whether one figure can stand for the samples; None when there are too few to say.
        verdict: The same in words: "steady", "drifting: +12% ...", "bimodal: ...".
        agrees: Whether the outputs are golden's; None without a golden file.
        raw: The whole JSON document; the script's docstring says what is in it.
    """

    latency: Latency
    samples: tuple[float, ...]
    steady: bool | None
    verdict: str
    agrees: bool | None
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, text: str, *, subject: str) -> Measurement:
        """Reads the script's JSON document.

        Args:
            text: The document.
            subject: Where it comes from, for the error message.

        Raises:
            SourceError: It is truncated, is no result, or is from a newer edgecomp.
        """
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise cls._incomplete(subject, error) from None
        return cls.from_document(raw, subject=subject)

    @classmethod
    def from_document(cls, raw: Any, *, subject: str) -> Measurement:
        """The same of a document that was read already."""
        try:
            if raw["schema"] > SCHEMA:
                raise ValueError(f"schema {raw['schema']}")
            return cls(
                latency=Latency(**{part.name: float(raw["latency_ms"][part.name]) for part in fields(Latency)}),
                samples=tuple(map(float, raw["samples_ms"])),
                steady=raw["steady_state"]["steady"],
                verdict=raw["steady_state"]["verdict"],
                agrees=None if raw["golden"] is None else raw["golden"]["agrees"],
                raw=raw,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise cls._incomplete(subject, error) from None

    @staticmethod
    def _incomplete(subject: str, error: Exception) -> SourceError:
        return SourceError(
            subject,
            expected=f"a complete result of bench.py, schema {SCHEMA} or older",
            actual=f"{type(error).__name__}: {error}",
            cure="measure again, or read it with the version of edgecomp that wrote it",
        )


def measure_local(
    path: Path,
    *,
    runs: int = 50,
    warmup: int = 10,
    threads: int = 1,
    golden: Path | None = None,
    profile: bool = False,
    timeout: float | None = None,
) -> Measurement:
    """Measures an artifact on this machine, in an interpreter of its own.

    Args:
        path: A `.tflite`, `.onnx`, `.ort` or `.mnn` file.
        runs: Timed inferences, at least 1.
        warmup: Inferences before them that are not counted.
        threads: Threads of the runtime.
        golden: Inputs and expected outputs, as `device_scripts/bench.py` describes them.
        profile: Time each operator as well, where the runtime can.
        timeout: Seconds to wait, or None for ever.

    Raises:
        SourceError: The artifact cannot be loaded.
        DataError: The golden file does not fit the artifact.
        InputError: A number is too small, or the suffix is unknown.
        MissingToolchainError: The runtime is not installed.
        PromiseError: The runtime crashed, or took too long.
    """
    arguments = [str(path.absolute()), f"--runs={runs}", f"--warmup={warmup}", f"--threads={threads}"]
    if golden is not None:
        arguments.append(f"--golden={golden.absolute()}")
    if profile:
        arguments.append("--profile")
    script = importlib.resources.files("edgecomp.device_scripts").joinpath("bench.py")
    with importlib.resources.as_file(script) as file:
        try:
            process = subprocess.run(
                [sys.executable, str(file), *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                check=False,
                # The child must find the same runtimes, even if these were added to the path by hand.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
            )
        except subprocess.TimeoutExpired:
            raise PromiseError(
                str(path),
                expected=f"a measurement within {timeout:g} s",
                actual="none; the process was stopped",
                cure="ask for fewer runs, or allow more time",
            ) from None
    return read_answer(process.returncode, process.stdout.decode("utf-8", "replace"), process.stderr, path)


@dataclass(frozen=True)
class Circumstances:
    """The circumstances of a run, besides its output.

    Attributes:
        device: Where it ran, in words.
        stage: The last stage that the script reported.
        runtime: The package that it ran or was about to import, with its version if known.
        known_bad: Why that version must not be used there, if the target profile says so.
        install: The command that installs a runtime there; `{package}` stands for it.
    """

    device: str = "this machine"
    stage: str = ""
    runtime: str = ""
    known_bad: str = ""
    install: str = "run `pip install {package}`"

    @classmethod
    def on_board(cls, device: str, stages: Sequence[Mapping[str, Any]], runtime: Runtime | None) -> Circumstances:
        """Returns the circumstances of a run on a board, from the stages that `--progress` reported.

        Args:
            device: Its name.
            stages: What was told, the last at the end.
            runtime: What the target profile says of the runtime.
        """
        package, version = "", None
        for stage in stages:
            package, version = stage.get("runtime", package), stage.get("version", version)
        bad = [entry for entry in (runtime.known_bad if runtime else ()) if entry.version == version]
        return cls(
            device,
            stages[-1]["stage"] if stages else "",
            f"{package} {version or 'of unknown version'}" if package else "",
            f"{bad[0].reason} ({bad[0].source})" if bad else "",
            "run with --setup, which installs {package} there",
        )


def read_answer(
    code: int, stdout: str, stderr: bytes, path: Path, circumstances: Circumstances | None = None
) -> Measurement:
    """Turns the output of the script into a measurement, or into the right error.

    Args:
        code: Its exit code, negative for a signal.
        stdout: Its JSON document, if it came to that.
        stderr: What native libraries said.
        path: The artifact.
        circumstances: The circumstances of the run; those of this machine when left out.

    Raises:
        EdgecompError: As `measure_local` says.
    """
    known = circumstances or Circumstances()
    if code == 0:
        return Measurement.from_json(stdout, subject=f"the measurement of {path}")
    if code < 0:
        raise _crash(path, signal.Signals(-code).name, stderr, known)
    try:
        answer = json.loads(stdout)
        kind, message = answer["error"], answer["message"]
    except (ValueError, KeyError, TypeError):
        actual = f"exit code {code} and no result; last words: {_last_words(stderr)}"
        raise _failure(path, actual, "report this with the model") from None
    if kind == "no-runtime":
        package = _PACKAGES.get(path.suffix.lower(), "the runtime")
        raise MissingToolchainError(
            f"the runtime for {path.name}",
            expected=f"the package {package}",
            actual=message,
            cure=known.install.format(package=package),
        )
    if kind in _KINDS:
        error, cure = _KINDS[kind]
        raise error(f"the measurement of {path}", expected="something that bench.py can use", actual=message, cure=cure)
    raise _failure(path, message, "report this with the model")


def _crash(path: Path, name: str, stderr: bytes, known: Circumstances) -> PromiseError:
    """Returns the error for a run that a signal ended: a known bad version, or the usual meaning of the signal."""
    where = f" in {known.runtime}" if known.runtime else ""
    stage = f", at the stage {known.stage!r}" if known.stage else ""
    actual = f"it was ended by {name}{where}{stage}; last words: {_last_words(stderr)}"
    if known.known_bad and name != "SIGKILL":
        cause = f"known for this device: {known.known_bad} Run with --setup, which installs another version"
    else:
        cause = _CRASHES.get(name, "something stopped it; measure again")
    return _failure(path, actual, cause)


def _failure(path: Path, actual: str, cure: str) -> PromiseError:
    return PromiseError(f"the measurement of {path}", expected="a runtime that runs it", actual=actual, cure=cure)


def _last_words(stderr: bytes, lines: int = 3) -> str:
    return " | ".join(stderr.decode("utf-8", "replace").strip().splitlines()[-lines:]) or "none"


@dataclass(frozen=True)
class Comparison:
    """How much slower one measurement is than another.

    Attributes:
        ratio: Median latency over the baseline's: 2.0 is twice as slow, 0.5 twice as fast.
        low: Lower end of the ratio's confidence interval.
        high: Upper end.
        confidence: The confidence of the interval: 0.95.
    """

    ratio: float
    low: float
    high: float
    confidence: float


def compare(
    baseline: Measurement, other: Measurement, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """Computes the ratio of median latencies with a bootstrap confidence interval.

    Consecutive latencies are correlated (clocks, caches, a neighbour process), so blocks of them are drawn instead of
    single ones: the circular block bootstrap of Politis and Romano (1992), with blocks of n^(1/3) samples.

    Args:
        baseline: What `other` is divided by.
        other: The measurement in question.
        confidence: Between 0 and 1.
        resamples: Bootstrap samples.
        seed: The same seed gives the same interval.
    """
    rng = np.random.default_rng(seed)
    first, second = (np.asarray(measurement.samples) for measurement in (baseline, other))
    ratios = _resampled_medians(second, resamples, rng) / _resampled_medians(first, resamples, rng)
    low, high = np.quantile(ratios, ((1 - confidence) / 2, (1 + confidence) / 2))
    return Comparison(float(np.median(second) / np.median(first)), float(low), float(high), confidence)


def _resampled_medians(
    samples: npt.NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    count = len(samples)
    length = round(count ** (1 / 3))
    blocks = -(-count // length)
    medians: list[npt.NDArray[np.float64]] = []
    for rows in np.array_split(np.arange(resamples), -(-resamples * count // 1_000_000)):  # at most 8 MB at once
        starts = rng.integers(0, count, (len(rows), blocks, 1))
        drawn = (starts + np.arange(length)).reshape(len(rows), -1)[:, :count] % count
        medians.append(np.median(samples[drawn], axis=1))
    return np.concatenate(medians)
