"""Measures one model file on the machine it runs on, and prints one JSON document.

    python3 bench.py model.tflite [--runs 50] [--warmup 10] [--threads 1] [--golden golden.npz] [--profile] [--progress]

The same file runs on the board and on the PC. It needs Python 3.9, numpy and one runtime, which the suffix chooses:
`.tflite` (ai-edge-litert or tflite-runtime), `.onnx` and `.ort` (onnxruntime), `.mnn` (MNN).

What is measured:

1. The clock is `perf_counter_ns` around the runtime's own call for one inference and nothing else. Copying the inputs
   in is outside (it happens before *every* run: MNN overwrites its inputs), and so is reading the outputs. ONNX
   Runtime takes inputs by reference and allocates outputs, both inside its call. `timer_ms` is what the clock costs.
2. `load_ms` is from opening the file to being ready to run; importing the runtime is outside. Then come
   `first_inference_ms`, `warmup_ms` and `samples_ms`; the summary in `latency_ms` is of `samples_ms` alone.
3. Runtimes keep their defaults, except for MNN's precision: "high", so that it computes what was verified.
4. Inputs are those of `golden.npz`, else random with a fixed seed: normal floats, any int8 or uint8, 0 or 1 for wider
   integers, which are mostly indices. A dynamic size takes golden's size, else 1.
5. A fact that the machine does not offer is null.

`golden.npz` holds arrays exactly as this artifact stores them: `FILE/inputs/0`, `FILE/inputs/1`, ... and
`FILE/outputs/0`, ... in the artifact's order, where FILE is the artifact's file name. `FILE/steps/0` may hold the real
size of one quantization step of a float output. Quantized outputs agree within 8 steps, or when the expected signal is
20 dB above the difference: kernels of another processor round elsewhere, and through fifty layers that becomes a few
steps. Floats agree within a thousandth of the largest expected magnitude, and other integers when they are equal
(`edgecomp/verification/golden.py` says why, and bundles for apps are held to the same). ONNX Runtime's default int8
kernels saturate on x86 without VNNI: there "agrees" is said of a session that does not, and "agrees_as_timed" of the
one that was timed.

An error is a JSON object with "error" (usage, no-runtime, bad-model, bad-golden, interrupted, unexpected) and
"message", and a non-zero exit code. What native libraries print goes to stderr. With `--progress` so do lines that
begin with "@ ", each a JSON object: {"stage": WORDS} and what is known of it. The last one says where a runtime died.
`--marks` puts a harmless system call before and after every timed inference, for who counts instructions outside.
"""
# zip(strict=...) needs Python 3.10 (B905); what the methods of a runtime do is said once, in `Runtime` (D102).
# ruff: noqa: B905, D102

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import glob
import hashlib
import importlib
import importlib.metadata
import json
import math
import mmap
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn

try:
    import numpy as np
except ImportError as missing:
    print(json.dumps({"schema": 1, "error": "no-runtime", "message": f"no numpy for {sys.executable}: {missing}"}))
    sys.exit(1)

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Json = dict[str, Any]
    Shapes = Sequence[tuple[int, ...]] | None

SCHEMA = 1
TOLERANCE_STEPS = 8.0
TOLERANCE_SQNR = 20.0
TOLERANCE_FLOAT = 1e-3
PROFILE_RUNS = 10
#: Whether `report` and `mark` do anything; `main` decides.
PROGRESS = MARKS = False
#: Processes that cannot exist: above the highest number that Linux gives.
MARK_START, MARK_STOP = 0x7ECC0001, 0x7ECC0002


class BenchError(Exception):
    """An error that is reported as JSON: its kind for programs, its message for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Tensor(NamedTuple):
    """An input or output as the runtime has it."""

    name: str
    dtype: str
    shape: tuple[int, ...]


# --- Runtimes: one class each, found by the file's suffix ------------------------------------------------------------


class Runtime:
    """One loaded model; `feed` sets the inputs, `run` is one inference and alone inside the clock, `results` reads."""

    #: Module to import -> distribution that brings it; the first one that is installed is used.
    packages: ClassVar[dict[str, str]]
    inputs: list[Tensor]
    outputs: list[Tensor]
    feed: Callable[[Sequence[Array]], None]
    run: Callable[[], None]
    results: Callable[[], list[Array]]

    def exact(self) -> Runtime:
        """The runtime that a numeric check asks, where speed was bought with accuracy by default."""
        return self

    def profile(self, arrays: Sequence[Array]) -> list[Json] | None:
        """Mean time of each operator in order of execution, or None where the runtime does not tell."""
        return None


class TfLite(Runtime):
    """LiteRT or tflite-runtime; their Python packages have no profiler."""

    packages: ClassVar = {
        "ai_edge_litert.interpreter": "ai-edge-litert",
        "tflite_runtime.interpreter": "tflite-runtime",
    }

    def __init__(self, module: Any, path: str, threads: int, shapes: Shapes) -> None:
        self._interpreter = module.Interpreter(model_path=path, num_threads=threads)
        for details, shape in zip(self._interpreter.get_input_details(), shapes or ()):
            if -1 in details["shape_signature"]:  # any other could be resized too, but not rightly
                self._interpreter.resize_tensor_input(details["index"], shape)
        self._interpreter.allocate_tensors()
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self.inputs, self.outputs = [
            [Tensor(d["name"], np.dtype(d["dtype"]).name, tuple(map(int, d["shape"]))) for d in details]
            for details in (self._inputs, self._outputs)
        ]
        self.run = self._interpreter.invoke  # no Python frame of ours inside the clock

    def feed(self, arrays: Sequence[Array]) -> None:
        for details, array in zip(self._inputs, arrays):
            self._interpreter.set_tensor(details["index"], array)

    def results(self) -> list[Array]:
        return [self._interpreter.get_tensor(details["index"]) for details in self._outputs]


class OnnxRuntime(Runtime):
    """ONNX Runtime on the CPU."""

    packages: ClassVar = {"onnxruntime": "onnxruntime"}

    def __init__(
        self, module: Any, path: str, threads: int, shapes: Shapes, configure: Callable[[Any], None] | None = None
    ) -> None:
        self._again = functools.partial(OnnxRuntime, module, path, threads, shapes)
        options = module.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if configure is not None:
            configure(options)
        self._session = module.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [self._describe(value) for value in self._session.get_inputs()]
        self.outputs = [self._describe(value) for value in self._session.get_outputs()]
        if shapes is not None and len(shapes) == len(self.inputs):
            # What the file fixes stays, so that wrong shapes are found.
            dynamic = [any(not isinstance(s, int) for s in value.shape) for value in self._session.get_inputs()]
            rows = zip(self.inputs, shapes, dynamic)
            self.inputs = [tensor._replace(shape=shape) if free else tensor for tensor, shape, free in rows]

    def _describe(self, value: Any) -> Tensor:
        dtype = value.type[len("tensor(") : -1]  # "tensor(float)"
        shape = tuple(size if isinstance(size, int) else 1 for size in value.shape)
        return Tensor(value.name, {"float": "float32", "double": "float64"}.get(dtype, dtype), shape)

    def feed(self, arrays: Sequence[Array]) -> None:
        self._feeds = {tensor.name: array for tensor, array in zip(self.inputs, arrays)}

    def run(self) -> None:
        self._results: list[Array] = self._session.run(None, self._feeds)

    def results(self) -> list[Array]:
        return self._results

    def exact(self) -> Runtime:
        # Without VNNI, x86 kernels add pairs of products in saturating 16-bit; ARM's do not, and this mode does not.
        if platform.machine().lower() in ("x86_64", "amd64"):
            return self._again(lambda options: options.add_session_config_entry("session.x64quantprecision", "1"))
        return self

    def profile(self, arrays: Sequence[Array]) -> list[Json] | None:
        def enable(options: Any) -> None:
            options.enable_profiling, options.profile_file_prefix = True, os.path.join(folder, "ops")

        with tempfile.TemporaryDirectory() as folder:
            session = self._again(enable)
            timed_runs(session, arrays, PROFILE_RUNS)
            with open(session._session.end_profiling(), encoding="utf-8") as file:
                events = json.load(file)
        end = "_kernel_time"
        nodes = [event for event in events if event["cat"] == "Node" and event["name"].endswith(end)]
        nodes.sort(key=lambda node: node["ts"])
        return operator_times(
            [(node["name"][: -len(end)], node["args"]["op_name"], node["dur"] / 1e3) for node in nodes]
        )


class Mnn(Runtime):
    """An MNN session."""

    packages: ClassVar = {"MNN": "MNN"}

    def __init__(self, module: Any, path: str, threads: int, shapes: Shapes) -> None:
        self._mnn = module
        self._interpreter = module.Interpreter(path)
        config = {"backend": "CPU", "precision": "high", "numThread": threads}
        self._session = self._interpreter.createSession(config)
        # The runtime lists tensors by name; an artifact of edgecomp says their order.
        order = mnn_order(path)
        sources = self._interpreter.getSessionInputAll(self._session)
        self._sources = [sources[name] for name in order.get("inputs", sources)]
        wanted = [tuple(s if s > 0 else 1 for s in source.getShape()) for source in self._sources]
        for source, shape in zip(self._sources, wanted if shapes is None else shapes):
            if tuple(source.getShape()) != shape:
                self._interpreter.resizeTensor(source, shape)
        self._interpreter.resizeSession(self._session)
        self.inputs = [self._describe(n, t) for n, t in zip(order.get("inputs", sources), self._sources)]
        results = self._interpreter.getSessionOutputAll(self._session)
        self._results = [results[name] for name in order.get("outputs", results)]
        self.outputs = [self._describe(n, t) for n, t in zip(order.get("outputs", results), self._results)]
        self._hosts: list[Any] = []
        self._fed: Sequence[Array] | None = None

    def _describe(self, name: str, tensor: Any) -> Tensor:
        # MNN has one float and one integer type at its border.
        dtype = "float32" if tensor.getDataType() == self._mnn.Halide_Type_Float else "int32"
        return Tensor(name, dtype, tuple(tensor.getShape()))

    def _host(self, array: Array) -> Any:
        kind = self._mnn.Halide_Type_Float if array.dtype == np.float32 else self._mnn.Halide_Type_Int
        return self._mnn.Tensor(array.shape, kind, array, self._mnn.Tensor_DimensionType_Caffe)

    def feed(self, arrays: Sequence[Array]) -> None:
        if arrays is not self._fed:
            self._hosts, self._fed = [self._host(array) for array in arrays], arrays
        for source, host in zip(self._sources, self._hosts):
            source.copyFrom(host)

    def run(self) -> None:
        self._checked(self._interpreter.runSession(self._session))

    def _checked(self, code: int) -> None:
        if code != 0:
            raise BenchError("bad-model", f"MNN's runSession failed with code {code}")

    def results(self) -> list[Array]:
        arrays = []
        for tensor, source in zip(self.outputs, self._results):
            memory = np.zeros(tuple(source.getShape()), tensor.dtype)  # must outlive the tensor that lies on it
            host = self._host(memory)
            source.copyToHostTensor(host)
            arrays.append(np.array(host.getNumpyData()).reshape(memory.shape))
        return arrays

    def profile(self, arrays: Sequence[Array]) -> list[Json] | None:
        rows: list[tuple[str, str, float]] = []
        start = 0

        def before(tensors: Any, op: Any) -> bool:
            nonlocal start
            start = time.perf_counter_ns()
            return True

        def after(tensors: Any, op: Any) -> bool:
            duration = time.perf_counter_ns() - start
            rows.append((op.getName(), op.getType().strip(), duration / 1e6))
            return True

        for _ in range(PROFILE_RUNS):
            self.feed(arrays)
            self._checked(self._interpreter.runSessionWithCallBackInfo(self._session, before, after))
        return operator_times(rows)


RUNTIMES: dict[str, type[TfLite] | type[OnnxRuntime] | type[Mnn]] = {
    ".tflite": TfLite,
    ".onnx": OnnxRuntime,
    ".ort": OnnxRuntime,
    ".mnn": Mnn,
}


def mnn_order(path: str) -> dict[str, list[str]]:
    """Names of inputs and outputs in the order that edgecomp wrote into the file; empty for a file from elsewhere."""
    try:
        # The `bizCode`, a text that MNN keeps and does not interpret: field 0 of the flatbuffer's root table.
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            (root,) = struct.unpack_from("<I", data, 0)
            (vtable,) = struct.unpack_from("<i", data, root)
            (field,) = struct.unpack_from("<H", data, root - vtable + 4)
            text = root + field + struct.unpack_from("<I", data, root + field)[0]
            (size,) = struct.unpack_from("<I", data, text)
            facts = json.loads(data[text + 4 : text + 4 + size].decode("utf-8"))
        return {part: [fact["name"] for fact in facts[part]] for part in ("inputs", "outputs")}
    except (struct.error, ValueError, KeyError, TypeError):
        return {}


def operator_times(rows: Sequence[tuple[str, str, float]]) -> list[Json]:
    """Mean milliseconds per run from (name, type, milliseconds) of `PROFILE_RUNS` runs."""
    totals: dict[tuple[str, str], float] = {}
    for name, kind, milliseconds in rows:
        totals[name, kind] = totals.get((name, kind), 0.0) + milliseconds
    return [{"name": n, "op": kind, "mean_ms": total / PROFILE_RUNS} for (n, kind), total in totals.items()]


def find_runtime(path: str) -> tuple[Callable[..., Runtime], Json]:
    """What loads a file, given path, threads and shapes, and the runtime's name and version."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in RUNTIMES:
        raise BenchError("usage", "suffix {!r} of {}: one of {} is expected".format(suffix, path, ", ".join(RUNTIMES)))
    # ONNX Runtime sends usage data to Microsoft unless this is set before it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    failures = []
    for module, distribution in RUNTIMES[suffix].packages.items():
        try:
            version: str | None = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            version = None
        report("import", runtime=distribution, version=version)
        try:
            loaded = importlib.import_module(module)
        except ImportError as error:
            failures.append(f"{distribution} ({error})")
            continue
        version = version or getattr(loaded, "__version__", None)  # a variant, such as onnxruntime-gpu
        return functools.partial(RUNTIMES[suffix], loaded), {"name": distribution, "version": version}
    raise BenchError("no-runtime", "no runtime for {} files can be imported: {}".format(suffix, "; ".join(failures)))


# --- Inputs and the numeric check ------------------------------------------------------------------------------------


def read_golden(path: str, name: str) -> dict[str, list[Any]]:
    """The arrays of one artifact: "inputs", "outputs", and "steps" (None where not given)."""
    found: dict[str, list[Any]] = {"inputs": [], "outputs": [], "steps": []}
    try:
        # numpy leaves a damaged file open when it opens it itself.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            stored = set(archive.files)
            for part in ("inputs", "outputs"):
                while f"{name}/{part}/{len(found[part])}" in stored:
                    found[part].append(archive[f"{name}/{part}/{len(found[part])}"])
            steps = [f"{name}/steps/{index}" for index in range(len(found["outputs"]))]
            found["steps"] = [float(archive[step]) if step in stored else None for step in steps]
    except Exception as error:  # a damaged zip raises many kinds
        raise BenchError("bad-golden", f"{path} cannot be read: {error}") from error
    if not found["inputs"] or not found["outputs"]:
        files = sorted({key.split("/")[0] for key in stored})
        raise BenchError("bad-golden", f"{path} has no inputs and outputs of {name}; it has {files}")
    return found


def random_inputs(tensors: Sequence[Tensor]) -> list[Array]:
    """See rule 4 of the module."""
    rng = np.random.default_rng(0)
    arrays = []
    for tensor in tensors:
        dtype = np.dtype(tensor.dtype)
        if dtype.kind == "f":
            array: Array = rng.standard_normal(tensor.shape)
        elif dtype in (np.dtype(np.int8), np.dtype(np.uint8)):
            array = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, tensor.shape)
        else:
            array = rng.integers(0, 2, tensor.shape)
        arrays.append(np.asarray(array).astype(dtype))
    return arrays


def check_inputs(arrays: Sequence[Array], tensors: Sequence[Tensor]) -> None:
    """Golden inputs must be what the artifact takes: some runtimes read past the end of what is too small."""
    expected = [(tensor.dtype, tensor.shape) for tensor in tensors]
    actual = [(array.dtype.name, array.shape) for array in arrays]
    if expected != actual:
        raise BenchError("bad-golden", f"the artifact takes inputs {expected}, golden has {actual}")


def check_output(name: str, actual: Array, expected: Array, step: float | None) -> Json:
    """How far an output is from what it should be."""
    found: Json = {"name": name, "max_difference": None, "steps": None, "agrees": False, "problem": None}
    if (actual.dtype, actual.shape) != (expected.dtype, expected.shape):
        pairs = actual.dtype, list(actual.shape), expected.dtype, list(expected.shape)
        return dict(found, problem="it is {} {}, golden is {} {}".format(*pairs))
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite) or not np.array_equal(a[~finite].astype(str), b[~finite].astype(str)):
        return dict(found, problem="NaN or infinity where golden has none, or the other way round")
    largest = float(np.max(np.abs(a[finite] - b[finite]), initial=0.0))
    if expected.dtype.name in ("int8", "uint8", "int16", "uint16"):
        step = 1.0
    if step is not None:
        near = largest <= TOLERANCE_STEPS * step * (1 + 1e-4)  # a difference of floats is never a whole step exactly
        # The variance, and not the power, which a zero point would add to.
        noise, signal = float(np.mean((a[finite] - b[finite]) ** 2)), float(np.var(b[finite]))
        agrees = near or signal >= noise * 10 ** (TOLERANCE_SQNR / 10)
        return dict(found, max_difference=largest, steps=largest / step, agrees=agrees)
    relative = TOLERANCE_FLOAT if expected.dtype.kind == "f" else 0.0
    tolerance = relative * float(np.max(np.abs(b[finite]), initial=0.0))
    return dict(found, max_difference=largest, agrees=largest <= tolerance)


def check_outputs(names: Sequence[str], results: Sequence[Array], golden: dict[str, list[Any]]) -> list[Json]:
    """`check_output` of each."""
    if len(results) != len(golden["outputs"]):
        counts = len(results), len(golden["outputs"])
        raise BenchError("bad-golden", "the artifact has {} outputs, golden {}".format(*counts))
    rows = zip(names, results, golden["outputs"], golden["steps"])
    return [check_output(*row) for row in rows]


def check_golden(runtime: Runtime, golden: dict[str, list[Any]]) -> Json:
    """Compares the outputs of the last run with golden's; asks `exact()` too where that is another runtime."""
    names = [tensor.name for tensor in runtime.outputs]
    timed = outputs = check_outputs(names, runtime.results(), golden)
    exact = runtime.exact()
    if exact is not runtime:
        exact.feed(golden["inputs"])
        exact.run()
        outputs = check_outputs(names, exact.results(), golden)
    agreement = [all(output["agrees"] for output in found) for found in (outputs, timed)]
    return {"agrees": agreement[0], "agrees_as_timed": agreement[1], "outputs": outputs}


# --- Statistics ------------------------------------------------------------------------------------------------------


def summarize(samples: Sequence[float]) -> dict[str, float]:
    """Minimum, percentiles (linear), mean and sample standard deviation."""
    percentiles = {f"p{p}": float(np.percentile(samples, p)) for p in (50, 90, 95, 99)}
    std = float(np.std(samples, ddof=1)) if len(samples) > 1 else 0.0
    return dict(percentiles, min=float(np.min(samples)), mean=float(np.mean(samples)), std=std)


def drift(samples: Sequence[float]) -> tuple[float, float]:
    """Change over the whole series by the Theil-Sen slope, relative to the median, and the Mann-Kendall z."""
    # All pairs are looked at, so a long series is first cut to the medians of at most 500 equal stretches.
    blocks = np.array([np.median(part) for part in np.array_split(samples, min(len(samples), 500))])
    count = len(blocks)
    i, j = np.triu_indices(count, 1)
    differences = blocks[j] - blocks[i]
    change = float(np.median(differences / (j - i))) * (count - 1) / float(np.median(blocks))
    score = float(np.sign(differences).sum())
    variance = count * (count - 1) * (2 * count + 5) / 18
    return change, (score - np.sign(score)) / variance**0.5


def modes(samples: Sequence[float]) -> list[Json] | None:
    """The two groups that the samples fall into, or None.

    The best split of the sorted samples in two (Otsu) counts when each part holds a tenth of them, the means differ by
    5 % and lie 5 pooled standard deviations apart: one normal distribution split in two gives 2.7, a uniform one 3.5.
    The better known bimodality coefficient takes a few late samples for a second mode.
    """
    ordered = np.sort(samples)
    count = len(ordered)
    least = max(2, -(-count // 10))
    cuts = np.arange(least, count - least + 1)
    between = (np.cumsum(ordered - np.mean(ordered))[cuts - 1]) ** 2 / (cuts * (count - cuts))
    parts = np.split(ordered, [cuts[np.argmax(between)]])
    low, high = (float(np.mean(part)) for part in parts)
    spread = float(np.sqrt(sum(np.var(part) * len(part) for part in parts) / count))
    if high < low * 1.05 or high - low < 5 * spread:
        return None
    return [{"median_ms": float(np.median(part)), "share": len(part) / count} for part in parts]


def steady_state(samples: Sequence[float]) -> Json:
    """Whether one figure can stand for the samples, and if not, why not."""
    if len(samples) < 10:
        return {"steady": None, "verdict": "fewer than 10 samples: too few to say"}
    change, score = drift(samples)
    groups = modes(samples)
    low, middle, high = np.percentile(samples, (25, 50, 75))
    spread = float((high - low) / middle)
    words = []
    if abs(change) > 0.05 and abs(score) > 3:
        words.append(f"drifting: {change:+.0%} from the first run to the last")
    if groups is not None:
        words.append("bimodal: " + ", ".join("{share:.0%} near {median_ms:.3g} ms".format(**group) for group in groups))
    elif spread > 0.2:
        words.append(f"noisy: the middle half of the samples spans {spread:.0%} of the median")
    return {
        "steady": not words,
        "verdict": "; ".join(words) or "steady",
        "drift": {"relative_change": change, "mann_kendall_z": score},
        "modes": groups,
        "spread": spread,
    }


# --- The machine -----------------------------------------------------------------------------------------------------

#: /proc/cpuinfo of 64-bit ARM names no core, only ARM's part number.
# fmt: off
ARM_PARTS = {
    "0xc07": "Cortex-A7", "0xc08": "Cortex-A8", "0xc09": "Cortex-A9", "0xc0f": "Cortex-A15",
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd41": "Cortex-A78",
}
# fmt: on
#: Bits of `vcgencmd get_throttled` on a Raspberry Pi; the same bits 16 higher say "since boot".
THROTTLING = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


def read(path: str) -> str | None:
    """A small file of /proc or /sys, or None."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0\n ")
    except OSError:
        return None


def cpu(cpuinfo: str | None) -> Json:
    """Model and features from /proc/cpuinfo of x86 or ARM."""
    fields: dict[str, list[str]] = {}
    for line in (cpuinfo or "").splitlines():
        key, _, value = line.partition(":")
        values = fields.setdefault(key.strip().lower(), [])
        if value.strip() not in values:
            values.append(value.strip())
    cores = [ARM_PARTS.get(part, "part " + part) for part in fields.get("cpu part", [])]
    named = cores or fields.get("model name", [])
    features = fields.get("flags") or fields.get("features")
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return {
        "model": " + ".join(named) or None,
        "features": features[0].split() if features else None,
        "count": os.cpu_count(),
        "usable": len(affinity(0)) if affinity else None,
    }


def machine() -> Json:
    """What stays the same while the benchmark runs."""
    release = read("/etc/os-release") or ""
    names = [line.split("=", 1)[1].strip('"') for line in release.splitlines() if line.startswith("PRETTY_NAME=")]
    return {
        "board": read("/proc/device-tree/model"),
        "cpu": cpu(read("/proc/cpuinfo")),
        "os": names[0] if names else platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "userland_bits": struct.calcsize("P") * 8,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def throttling() -> Json | None:
    """A Raspberry Pi's throttling flags, from an answer like "throttled=0x50000"."""
    if shutil.which("vcgencmd") is None:
        return None
    try:
        command = ["vcgencmd", "get_throttled"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=True)
        raw = int(done.stdout.split(b"=")[1], 16)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    now, since_boot = [[word for bit, word in THROTTLING.items() if flags >> bit & 1] for flags in (raw, raw >> 16)]
    return {"raw": hex(raw), "now": now, "since_boot": since_boot}


def conditions(quick: bool = False) -> Json:
    """Clocks, governors, temperatures and load at this moment; `quick` starts no process."""
    frequencies: dict[str, int] = {}
    governors = set()
    for folder in sorted(glob.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq")):
        frequency, governor = read(folder + "/scaling_cur_freq"), read(folder + "/scaling_governor")
        if frequency and frequency.isdigit():
            frequencies[folder.split("/")[-2]] = int(frequency)
        if governor:
            governors.add(governor)
    temperatures: dict[str, float] = {}
    for folder in sorted(glob.glob("/sys/class/thermal/thermal_zone*")):
        millidegrees = read(folder + "/temp")
        if millidegrees and millidegrees.lstrip("-").isdigit():
            name = "{} {}".format(os.path.basename(folder), read(folder + "/type") or "").strip()
            temperatures[name] = int(millidegrees) / 1000
    load = (read("/proc/loadavg") or "").split()[:3]
    return {
        "frequency_khz": frequencies or None,
        "governor": " + ".join(sorted(governors)) or None,
        "temperature_c": temperatures or None,
        "throttling": None if quick else throttling(),
        "load_average": [float(value) for value in load] or None,
    }


def memory() -> Json:
    """Resident bytes of this process: now, and the most there ever was."""
    fields = dict(line.split(":", 1) for line in (read("/proc/self/status") or "").splitlines() if ":" in line)
    found = [fields.get(key, "").split() for key in ("VmRSS", "VmHWM")]
    resident, peak = [int(value[0]) * 1024 if value else None for value in found]
    return {"resident": resident, "peak": peak}


# --- The measurement -------------------------------------------------------------------------------------------------


def timed_runs(runtime: Runtime, arrays: Sequence[Array], count: int, stage: str = "") -> list[float]:
    """Milliseconds of each of `count` runs (rule 1 of the module); a stage with a name reports now and then."""
    clock, feed, run = time.perf_counter_ns, runtime.feed, marked(runtime.run) if MARKS else runtime.run
    samples = []
    due = clock() if stage else math.inf
    for _ in range(count):
        feed(arrays)
        start = clock()
        run()
        stop = clock()
        samples.append(stop - start)
        if stop > due:
            report(stage, done=len(samples), total=count)
            due = stop + 1_000_000_000
    return [sample / 1e6 for sample in samples]


def timer_cost() -> float:
    """Median milliseconds of a timed nothing."""
    clock = time.perf_counter_ns
    samples = []
    for _ in range(1000):
        start = clock()
        samples.append(clock() - start)
    return float(np.median(samples)) / 1e6


def marked(run: Callable[[], None]) -> Callable[[], None]:
    """The same between two marks: a getpgid of nobody, which changes nothing."""

    def between_marks() -> None:
        mark(MARK_START)
        run()
        mark(MARK_STOP)

    return between_marks


def mark(number: int) -> None:
    """A system call that does nothing."""
    with contextlib.suppress(ProcessLookupError):
        os.getpgid(number)


def report(stage: str, **facts: Any) -> None:
    """A line of `--progress`."""
    if PROGRESS:
        sys.stderr.write("@ " + json.dumps(dict(facts, stage=stage)) + "\n")
        sys.stderr.flush()


def fingerprint(path: str) -> Json:
    """Name, size and SHA-256 of a file."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise BenchError("bad-model", f"{path} cannot be read: {error.strerror}") from error
    return {"file": os.path.basename(path), "size": os.path.getsize(path), "sha256": digest.hexdigest()}


def load_model(load: Callable[..., Runtime], path: str, threads: int, shapes: Shapes) -> tuple[Runtime, float]:
    """The runtime with the model, ready to run, and the milliseconds that it took (rule 2 of the module)."""
    report("load")
    start = time.perf_counter_ns()
    try:
        runtime = load(path, threads, shapes)
    except Exception as error:  # each runtime raises its own kinds
        raise BenchError("bad-model", f"{path} cannot be loaded: {error}") from error
    return runtime, (time.perf_counter_ns() - start) / 1e6


def first_run(runtime: Runtime, arrays: Sequence[Array], path: str, cure: str) -> float:
    """Milliseconds of the first inference, which shows whether the model runs at all."""
    try:
        report("first run")
        if MARKS:
            for _ in range(3):  # what the marks themselves cost
                marked(lambda: None)()
        (first,) = timed_runs(runtime, arrays, 1)
    except Exception as error:
        raise BenchError("bad-model", f"{path} cannot be run: {error}{cure}") from error
    return first


def measure(options: argparse.Namespace) -> Json:
    """Does the whole work; the result is the JSON document."""
    model = fingerprint(options.model)
    load, runtime_facts = find_runtime(options.model)
    golden = None if options.golden is None else read_golden(options.golden, model["file"])
    before, unloaded = conditions(), memory()

    shapes = None if golden is None else [array.shape for array in golden["inputs"]]
    runtime, load_ms = load_model(load, options.model, options.threads, shapes)
    loaded = memory()
    if golden is None:
        arrays, cure = random_inputs(runtime.inputs), "; give inputs that it can work with by --golden"
    else:
        arrays, cure = [np.asarray(array, order="C") for array in golden["inputs"]], ""
        golden["inputs"] = arrays
        check_inputs(arrays, runtime.inputs)

    gc.disable()
    first = first_run(runtime, arrays, options.model, cure)
    warmup = timed_runs(runtime, arrays, options.warmup, "warm-up")
    samples = timed_runs(runtime, arrays, (options.runs + 1) // 2, "first half")
    during = conditions(quick=True)
    samples += timed_runs(runtime, arrays, options.runs // 2, "second half")
    gc.enable()
    steady, after = memory(), conditions()

    for part, tensors in (("inputs", runtime.inputs), ("outputs", runtime.outputs)):
        model[part] = [tensor._asdict() for tensor in tensors]
    return {
        "schema": SCHEMA,
        "model": model,
        "runtime": runtime_facts,
        "settings": {
            "runs": options.runs,
            "warmup": options.warmup,
            "threads": options.threads,
            "inputs": "random" if golden is None else "golden",
        },
        "latency_ms": summarize(samples),
        "steady_state": steady_state(samples),
        "load_ms": load_ms,
        "first_inference_ms": first,
        "warmup_ms": warmup,
        "samples_ms": samples,
        "timer_ms": timer_cost(),
        "memory_bytes": {
            "before_load": unloaded["resident"],
            "after_load": loaded["resident"],
            "steady": steady["resident"],
            "peak": steady["peak"],
        },
        "machine": machine(),
        "conditions": {"before": before, "during": during, "after": after},
        "golden": None if golden is None else check_golden(runtime, golden),
        "profile": runtime.profile(arrays) if options.profile else None,
    }


# --- The command line ------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """Reports bad usage the way every other error is reported."""

    def error(self, message: str) -> NoReturn:
        """Is called by argparse."""
        raise BenchError("usage", message)


def at_least(lowest: int) -> Callable[[str], int]:
    """An argument type: an integer that is not too small."""

    def integer(text: str) -> int:
        if int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text} is less than {lowest}")
        return int(text)

    return integer


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a .tflite, .onnx, .ort or .mnn file")
    parser.add_argument("--runs", type=at_least(1), default=50, help="timed runs")
    parser.add_argument("--warmup", type=at_least(0), default=10, help="runs before them, after the first inference")
    parser.add_argument("--threads", type=at_least(1), default=1)
    parser.add_argument("--golden", help="an .npz file with inputs and expected outputs")
    parser.add_argument("--profile", action="store_true", help="time each operator as well, in extra runs")
    parser.add_argument("--marks", action="store_true", help="mark each inference for a counter outside")
    parser.add_argument("--progress", action="store_true", help="say on stderr how far it is")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the one JSON document; the exit code says whether it is a result."""
    code = 1
    options = document = None
    try:
        options = parse(arguments)
    except BenchError as error:
        document, code = {"schema": SCHEMA, "error": error.kind, "message": str(error)}, 2
    # Native code prints to descriptor 1, MNN even while it is imported: from here on that is stderr.
    sys.stdout.flush()
    answer = os.dup(1)
    os.dup2(2, 1)
    if options is not None:
        global PROGRESS, MARKS
        PROGRESS, MARKS = options.progress, options.marks
        try:
            document, code = measure(options), 0
        except BenchError as error:
            document = {"schema": SCHEMA, "error": error.kind, "message": str(error)}
        except KeyboardInterrupt:
            document, code = {"schema": SCHEMA, "error": "interrupted", "message": "stopped by a signal"}, 130
        except Exception as error:
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}"
            document = {"schema": SCHEMA, "error": "unexpected", "message": message}
    with open(answer, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(document, allow_nan=False) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
