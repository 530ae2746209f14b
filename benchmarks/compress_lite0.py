"""EfficientNet-Lite0 from torch to three verified artifacts: what it costs, and how the artifacts compare with others'.

    make bench
    python benchmarks/compress_lite0.py [--peer-python PYTHON] [--json]

Three questions, each with its targets beside the figures:

1. The command `edgecomp compress examples/efficientnet_lite0.py --target raspberry-pi-4b` in fresh processes: time,
   memory, and where the time goes. The stages come from one more run, through the Python API.
2. Two steps alone, in this process: graph to TFLite, and calibration against bare passes of the float graph.
3. Every artifact on one thread against peers on the same runtime: latency, and what becomes of the predictions. Peers
   are made from the same float graph and the same photos.

What is compared is interleaved, so that a busy machine troubles both sides alike. Latency is measured twice, both times
with the clock of `device_scripts/bench.py`. In processes of their own, all artifacts in every round: that gives the
milliseconds, which are this machine's at this hour, and a ratio from `edgecomp.benchmark.compare` for each round. And
alternately, one inference of each artifact of a runtime after the other in one process: that ratio is judged, since a
neighbour that comes and goes within seconds troubles it least. An interval is the sign test's for the median, with
rounds, or blocks of turns, as samples: neighbouring latencies are too alike to count one by one.

Nothing is installed. A peer that is missing is named with what would bring it; `ai-edge-quantizer` may live in another
environment, whose interpreter `--peer-python` names.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

# Nothing heavy here: Linux counts the memory of this process, at the time it starts a child, as the child's.
from peers import MissingPeerError, quantize_with_ai_edge, quantize_with_mnn, quantize_with_onnxruntime
from processes import run
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from edgecomp.benchmark import Measurement
    from edgecomp.frontends import Source
    from edgecomp.model import CompressedModel

EXAMPLE = Path(__file__).parent.parent / "examples" / "efficientnet_lite0.py"
TARGET = "raspberry-pi-4b"


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: What it is of.
        value: The median, in `unit`.
        unit: "s", "GB", "x".
        low: The smallest of the rounds.
        high: The largest.
        limit: The target: at most this; None for a figure without one.
    """

    name: str
    value: float
    unit: str
    low: float
    high: float
    limit: float | None = None

    @classmethod
    def of(cls, name: str, values: Sequence[float], unit: str, limit: float | None = None) -> Figure:
        """The figure of several rounds."""
        return cls(name, median(values), unit, min(values), max(values), limit)

    @property
    def verdict(self) -> str:
        """What became of the target."""
        return "" if self.limit is None else verdict(self.value, self.limit)


@dataclass(frozen=True)
class Ratio:
    """A latency over the best peer's: the median over rounds, and a 95 % interval of that median."""

    value: float
    low: float
    high: float


@dataclass
class Candidate:
    """An artifact of ours or a peer's.

    Attributes:
        runtime: "ONNX Runtime", "LiteRT" or "MNN".
        name: What made it.
        path: The file; None when the peer is not there.
        ours: Whether it is held to the target; peers are what it is held against.
        missing: Why there is no file.
        seconds: What making it from the float graph and the photos took, calibration included.
        rounds: One measurement per round, each in a process of its own.
        turns: Milliseconds of each turn, alternating with the others of the same runtime.
        ratio: To the best peer on the same runtime, alternating. Of a peer: how many times its latency ours is.
        ratio_apart: To the best peer, between processes.
        agreement: Share of photos with the float network's argmax.
        top1: Share of photos with the right label.
    """

    runtime: str
    name: str
    path: Path | None
    ours: bool = False
    missing: str = ""
    seconds: float | None = None
    rounds: list[Measurement] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    ratio: Ratio | None = None
    ratio_apart: Ratio | None = None
    agreement: float | None = None
    top1: float | None = None

    @property
    def milliseconds(self) -> float:
        """Median over the rounds of the median latency."""
        return median(each.latency.p50 for each in self.rounds)


def verdict(value: float, limit: float) -> str:
    """Whether a figure is within its target."""
    return "met" if value <= limit else "MISSED"


# --- 1. The command ---------------------------------------------------------------------------------------------------


def command_figures(rounds: int, folder: Path) -> list[Figure]:
    """Runs the command in fresh processes; the last result stays in `folder`/result."""
    walls, cpus, largest = [], [], []
    for index in range(rounds):
        output = folder / ("result" if index == rounds - 1 else f"result-{index}")
        command = ["-m", "edgecomp", "compress", str(EXAMPLE), "--target", TARGET, "-o", str(output)]
        cost = run([sys.executable, *command])
        if cost.status:
            sys.exit(f"the command ended with exit code {cost.status}: {cost.words}")
        walls.append(cost.wall)
        cpus.append(cost.cpu)
        largest.append(cost.largest / 1e9)
    return [
        Figure.of("the command, wall time", walls, "s", 20.0),
        Figure.of("the command, CPU time with children", cpus, "s"),
        Figure.of("peak memory, largest process (max RSS)", largest, "GB", 1.5),
    ]


def stage_figures(folder: Path) -> list[Figure]:
    """One run through the Python API, with the time of each stage and the memory of all processes together."""
    log = folder / "stages.json"
    start = time.monotonic()
    cost = run([sys.executable, __file__, "--log-stages", log, folder / "staged"])
    if cost.status:
        sys.exit(f"the run for the stages ended with exit code {cost.status}: {cost.words}")
    named = stages(json.loads(log.read_text()), start, start + cost.wall)
    figures = [Figure.of(f"stage: {name}", [seconds], "s") for name, seconds in named]
    if cost.together:
        figures.insert(0, Figure.of("peak memory, all processes together (PSS)", [cost.together / 1e9], "GB", 1.5))
    return figures


def stages(events: Sequence[Sequence[Any]], start: float, end: float) -> list[tuple[str, float]]:
    """Stages in order with their seconds.

    Args:
        events: (stage, done, total, time) as `compress` reports progress; converters by name, "convert tflite".
        start: When the process was started.
        end: When it had ended.
    """
    named = {
        ("load", 0): "start Python, import edgecomp",
        ("load", 1): "load and export the module, check the graph",
        ("simplify", 1): "simplify",
        ("calibrate", 0): "read photos",
        ("calibrate", 1): "calibrate",
        ("convert", 0): "ranges, weights, biases",
        ("verify", 0): "",
        ("verify", 1): "verify",
    }
    found: dict[str, float] = {}
    before = start
    for stage, done, _, moment in events:
        if stage.startswith("convert "):
            name = stage
        elif stage == "simplify" and done == 0:
            name = ""
        else:
            name = named.get((stage, 0 if done == 0 else 1), "")
        name = name or "the rest"
        found[name] = found.get(name, 0.0) + moment - before
        before = moment
    found["write the manifest, end"] = end - before
    return [(name, seconds) for name, seconds in found.items() if seconds >= 0.005]


def log_stages(log: Path, output: Path) -> None:
    """The child of `stage_figures`."""
    from edgecomp.pipeline import compress
    from edgecomp.target import load_target

    formats = load_target(TARGET).defaults.formats
    events: list[tuple[str, int, int, float]] = []

    def progress(stage: str, done: int, total: int) -> None:
        name = f"convert {formats[done - 1]}" if stage == "convert" and done else stage
        if stage == "convert" and done == total:  # the end is reported together with that of the last one
            name = f"convert {formats[-1]}"
        events.append((name, done, total, time.monotonic()))

    compress(EXAMPLE, TARGET, output, progress=progress)
    log.write_text(json.dumps(events))


# --- 2. Steps alone ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """The network, as the pipeline has it, and its photos.

    Attributes:
        source: As it was loaded.
        model: Simplified, float.
        photos: To calibrate on, each (1, 3, 224, 224).
        labelled: To judge by: photo and label.
    """

    source: Source
    model: CompressedModel
    photos: list[Any]
    labelled: list[tuple[Any, int]]


def load_subject() -> Subject:
    """Loads the example with everything it has."""
    from edgecomp.data import collect_calibration, collect_evaluation
    from edgecomp.frontends import load_source
    from edgecomp.graph.simplify import simplify
    from edgecomp.model import CompressedModel

    source = load_source(EXAMPLE)
    assert source.calibration_data is not None, "the example calibrates"
    assert source.evaluation_data is not None, "the example evaluates"
    specs = source.input_specs
    calibration = collect_calibration(source.calibration_data(), specs, subject="the calibration data")
    evaluation = collect_evaluation(source.evaluation_data(), specs, subject="the evaluation data")
    labelled = [(inputs[0], int(labels[0])) for inputs, labels in evaluation]
    return Subject(source, simplify(CompressedModel(source.graph)), [batch[0] for batch in calibration], labelled)


def step_figures(subject: Subject, rounds: int, folder: Path) -> tuple[list[Figure], CompressedModel, float]:
    """Calibration against bare passes, and graph to TFLite; with the quantized model and the time that it took."""
    import onnx_ir as ir
    import onnxruntime

    from edgecomp.converter import ConversionOptions, load_converter
    from edgecomp.quantization.static import quantize_static

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    content = ir.to_proto(subject.model.graph).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    tflite = load_converter("tflite")

    def bare() -> None:
        for photo in subject.photos:
            session.run(None, {name: photo})

    batches = [(photo,) for photo in subject.photos]
    quantized = quantize_static(subject.model, batches)
    bare()
    passes, calibrations, writes, float_writes = [], [], [], []
    for _ in range(rounds):
        passes.append(timed(bare))
        calibrations.append(timed(lambda: quantize_static(subject.model, batches)))
        write_int8 = lambda: tflite.convert(quantized, folder / "int8.tflite", ConversionOptions())  # noqa: E731
        write_float = lambda: tflite.convert(subject.model, folder / "float.tflite", ConversionOptions())  # noqa: E731
        writes.append(timed(write_int8))
        float_writes.append(timed(write_float))
    count = len(subject.photos)
    figures = [
        Figure.of("graph -> int8 TFLite", writes, "s", 0.4),
        Figure.of("graph -> float TFLite", float_writes, "s", 0.4),
        Figure.of(f"{count} bare passes in ONNX Runtime, session ready", passes, "s"),
        Figure.of(f"quantize_static on {count} photos, all of it", calibrations, "s"),
        Figure.of("calibration / bare passes", [c / p for c, p in zip(calibrations, passes, strict=True)], "x", 2.0),
    ]
    return figures, quantized, median(calibrations)


def timed(function: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# --- 3. Artifacts and peers -------------------------------------------------------------------------------------------


def make_candidates(
    subject: Subject, quantized: CompressedModel, seconds: float, folder: Path, peer_python: str
) -> list[Candidate]:
    """Ours and the peers', the peers made here; `folder`/result holds what the command wrote."""
    from edgecomp.converter import ConversionOptions, load_converter

    result = folder / "result"

    def write(format_name: str, file: str, model: CompressedModel, options: ConversionOptions) -> Path:
        return load_converter(format_name).convert(model, folder / file, options).path

    def ours(runtime: str, name: str, path: Path) -> Candidate:
        return Candidate(runtime, f"edgecomp int8 {name}".strip(), path, ours=True, seconds=seconds)

    plain = ConversionOptions()
    float_onnx = write("onnxruntime", "float.onnx", subject.model, plain)
    float_tflite = write("tflite", "float.tflite", subject.model, plain)
    float_mnn = write("mnn", "float.mnn", subject.model, plain)
    unsigned = write("onnxruntime", "unsigned.onnx", quantized, ConversionOptions(activations="uint8"))
    return [
        ours("ONNX Runtime", "for linux-x86-64 (uint8 activations)", unsigned),
        # Not held to the target here: x86 kernels fuse signed activations only in part, ARM's fuse them all.
        replace(ours("ONNX Runtime", f"for {TARGET} (int8 activations)", result / "model.onnx"), ours=False),
        Candidate("ONNX Runtime", "float", float_onnx),
        peer("ONNX Runtime", "quantize_static, MinMax", lambda: quantize_with_onnxruntime(float_onnx, subject, folder)),
        ours("LiteRT", "", result / "model.tflite"),
        Candidate("LiteRT", "float", float_tflite),
        peer(
            "LiteRT",
            "ai-edge-quantizer static_wi8_ai8",
            lambda: quantize_with_ai_edge(float_tflite, subject, folder, peer_python),
        ),
        ours("MNN", "", result / "model.mnn"),
        Candidate("MNN", "float", float_mnn),
        peer("MNN", "mnnquant, KL", lambda: quantize_with_mnn(float_mnn, subject, folder)),
    ]


def peer(runtime: str, name: str, make: Callable[[], Path]) -> Candidate:
    """A peer's artifact, or why there is none."""
    start = time.perf_counter()
    try:
        path = make()
    except MissingPeerError as error:
        return Candidate(runtime, name, None, missing=str(error))
    return Candidate(runtime, name, path, seconds=time.perf_counter() - start)


def measure_latencies(candidates: Sequence[Candidate], rounds: int, runs: int, say: Callable[[str], None]) -> None:
    """Measures every artifact in every round, forwards and backwards by turns."""
    from edgecomp.benchmark import measure_local

    there = [candidate for candidate in candidates if candidate.path is not None]
    for index in range(rounds):
        say(f"latency: round {index + 1} of {rounds}")
        for candidate in there if index % 2 == 0 else reversed(there):
            assert candidate.path is not None
            candidate.rounds.append(measure_local(candidate.path, runs=runs, warmup=5, threads=1))


def alternate(candidates: Sequence[Candidate], turns: int, say: Callable[[str], None]) -> None:
    """Times one inference of every artifact of a runtime after the other, forwards and backwards by turns."""
    from edgecomp.device_scripts import bench

    for runtime in dict.fromkeys(candidate.runtime for candidate in candidates):
        say(f"latency, alternating: {runtime}")
        loaded = []
        for candidate in candidates:
            if candidate.runtime == runtime and candidate.path is not None:
                load, _ = bench.find_runtime(str(candidate.path))
                session = load(str(candidate.path), 1, None)
                loaded.append((candidate, session, bench.random_inputs(session.inputs)))
        for turn in range(-5, turns):  # the first five warm up
            for candidate, session, arrays in loaded if turn % 2 == 0 else reversed(loaded):
                milliseconds = bench.timed_runs(session, arrays, 1)
                candidate.turns += milliseconds if turn >= 0 else []


def best_peer(candidate: Candidate, candidates: Sequence[Candidate]) -> Candidate | None:
    """The fastest of the peers that were measured on the same runtime."""
    others = [other for other in candidates if other.runtime == candidate.runtime and _is_peer(other) and other.turns]
    return min(others, key=lambda other: median(other.turns), default=None)


def _is_peer(candidate: Candidate) -> bool:
    return not candidate.name.startswith("edgecomp")


def add_ratios(candidates: Sequence[Candidate], block: int = 20) -> None:
    """Compares each artifact of ours with its best peer: turn by turn, and round by round."""
    from edgecomp.benchmark import compare

    def alternating(ours: Candidate, other: Candidate) -> Ratio:
        turns = [own / its for own, its in zip(ours.turns, other.turns, strict=True)]
        return sign_interval([median(turns[at : at + block]) for at in range(0, len(turns), block)])

    judged = {candidate.runtime: candidate for candidate in candidates if candidate.ours}
    for candidate in candidates:
        best = best_peer(candidate, candidates)
        if best is None or not candidate.turns:
            continue
        if _is_peer(candidate):
            candidate.ratio = alternating(judged[candidate.runtime], candidate)
            continue
        candidate.ratio = alternating(candidate, best)
        rounds = zip(best.rounds, candidate.rounds, strict=True)
        candidate.ratio_apart = sign_interval([compare(*pair, resamples=1).ratio for pair in rounds])


def sign_interval(values: Sequence[float], confidence: float = 0.95) -> Ratio:
    """The median, and the narrowest interval of order statistics that holds the true one with `confidence`.

    Fewer than six values cannot give 95 %: then the interval is their whole range.
    """
    ordered, count = sorted(values), len(values)
    outside = 0
    # Either tail of a fair coin's binomial distribution, up to `outside` heads, lies beyond the next order statistic.
    while 2 * sum(math.comb(count, k) for k in range(outside + 1)) / 2**count <= 1 - confidence:
        outside += 1
    cut = max(outside - 1, 0)
    return Ratio(median(ordered), ordered[cut], ordered[count - 1 - cut])


def add_accuracies(candidates: Sequence[Candidate], subject: Subject, say: Callable[[str], None]) -> None:
    """Runs every artifact on the labelled photos, ONNX Runtime without saturating kernels."""
    import edgecomp
    from edgecomp.quantization.simulation import Simulation

    # Of a float model it is the float graph in ONNX Runtime, which the command has compared with the torch module.
    original = Simulation(subject.model)
    reference = [int(original.run((photo,))[0].argmax()) for photo, _ in subject.labelled]
    labels = [label for _, label in subject.labelled]
    for candidate in candidates:
        if candidate.path is None:
            continue
        say(f"accuracy: {candidate.runtime}, {candidate.name}")
        artifact = edgecomp.load(candidate.path, threads=2)
        nhwc = artifact.inputs[0].permutation is None and tuple(artifact.inputs[0].shape) == (1, 224, 224, 3)
        found = []
        for photo, _ in subject.labelled:
            given = photo.transpose(0, 2, 3, 1) if nhwc else photo  # a peer's file does not say how its input lies
            found.append(int(next(iter(artifact.predict(given).values())).argmax()))
        candidate.agreement = _share(found, reference)
        candidate.top1 = _share(found, labels)


def _share(found: Sequence[int], wanted: Sequence[int]) -> float:
    return sum(a == b for a, b in zip(found, wanted, strict=True)) / len(wanted)


# --- Output -----------------------------------------------------------------------------------------------------------

#: At most this ratio to the best peer.
LATENCY_LIMIT = 1.02
#: Points of agreement that int8 may lose.
AGREEMENT_LIMIT = 0.985


def ratio_verdict(ratio: Ratio) -> str:
    """Whether a latency is within the target: only an interval that lies on one side of it says so."""
    if ratio.low <= LATENCY_LIMIT < ratio.high:
        return "undecided: noise"
    return verdict(ratio.value, LATENCY_LIMIT)


def show(figures: Sequence[Figure], candidates: Sequence[Candidate], photos: int, console: Console) -> None:
    """Prints both tables."""
    table = _table("", ">median", ">min - max", ">target", "")
    for figure in figures:
        spread = "" if figure.low == figure.high else f"{figure.low:.2f} - {figure.high:.2f}"
        limit = "" if figure.limit is None else f"<= {figure.limit:g} {figure.unit}"
        table.add_row(figure.name, f"{figure.value:.2f} {figure.unit}", spread, limit, figure.verdict)
    console.print(table)
    headings = ("runtime", "artifact", ">made in", ">latency", ">/ best peer, apart", ">alternating (95 %)")
    table = _table(*headings, f"<= {LATENCY_LIMIT}", ">agrees with fp32", ">top-1")
    for candidate in candidates:
        if candidate.path is None:
            table.add_row(candidate.runtime, candidate.name, candidate.missing)
            continue
        ratio, latency_verdict = candidate.ratio, ""
        if ratio is not None and candidate.ours:
            latency_verdict = ratio_verdict(ratio)
        elif ratio is not None and not _is_peer(candidate):
            latency_verdict = "for ARM, not judged"
        agreement = "" if candidate.agreement is None else f"{candidate.agreement:.1%}"
        if candidate.ours and candidate.agreement is not None:
            agreement += " met" if candidate.agreement >= AGREEMENT_LIMIT else " MISSED"
        table.add_row(
            candidate.runtime,
            candidate.name,
            "" if candidate.seconds is None else f"{candidate.seconds:.1f} s",
            f"{candidate.milliseconds:.1f} ms",
            _interval(candidate.ratio_apart, 2),
            ("ours / it " if _is_peer(candidate) and ratio is not None else "") + _interval(ratio, 3),
            latency_verdict,
            agreement,
            "" if candidate.top1 is None else f"{candidate.top1:.1%}",
        )
    console.print(table)
    best = {candidate.runtime: best_peer(candidate, candidates) for candidate in candidates}
    names = "; ".join(f"{runtime}: {found.name}" for runtime, found in best.items() if found is not None)
    console.print(f"Best peers, by the alternating turns: {names}.", soft_wrap=True)
    console.print(
        f"Made in: from the float graph and the calibration photos. Agreement: on {photos} photos, target >= "
        f"{AGREEMENT_LIMIT:.1%} for ours. MNN's int8 is slower than its float on x86 and faster on ARM cores with dot "
        "products: its ratio is met or missed on a board, not here.",
        soft_wrap=True,
    )


def _interval(ratio: Ratio | None, digits: int) -> str:
    if ratio is None:
        return ""
    value, low, high = (f"{number:.{digits}f}" for number in (ratio.value, ratio.low, ratio.high))
    return f"{value} ({low} - {high})"


def _table(*headings: str) -> Table:
    table = Table(box=box.MARKDOWN)
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(heading.removeprefix(">"), justify="right" if right else "left", no_wrap=True)
    return table


def document(figures: Sequence[Figure], candidates: Sequence[Candidate]) -> dict[str, Any]:
    """The same for programs."""
    artifacts = []
    for candidate in candidates:
        entry: dict[str, Any] = {
            key: getattr(candidate, key)
            for key in ("runtime", "name", "ours", "missing", "seconds", "agreement", "top1")
        }
        entry["latency_ms"] = [each.latency.p50 for each in candidate.rounds]
        entry["ratio"] = None if candidate.ratio is None else asdict(candidate.ratio)
        entry["ratio_apart"] = None if candidate.ratio_apart is None else asdict(candidate.ratio_apart)
        entry["verdict"] = ratio_verdict(candidate.ratio) if candidate.ours and candidate.ratio is not None else None
        artifacts.append(entry)
    return {
        "machine": machine(),
        "latency_limit": LATENCY_LIMIT,
        "agreement_limit": AGREEMENT_LIMIT,
        "figures": [asdict(figure) | {"verdict": figure.verdict or None} for figure in figures],
        "artifacts": artifacts,
    }


def machine() -> str:
    """What this ran on, in a line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, load average {load}"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compressions", type=int, default=3, help="runs of the whole command")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds of everything else")
    parser.add_argument("--runs", type=int, default=30, help="timed inferences in each round")
    parser.add_argument("--turns", type=int, default=300, help="alternating inferences of each artifact")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has ai-edge-quantizer")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the tables")
    parser.add_argument("--log-stages", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.log_stages:
        log_stages(*arguments.log_stages)
        return
    notes = Console(stderr=True, highlight=False)
    # MNN prints to descriptor 1: from here on that is stderr.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with answer, tempfile.TemporaryDirectory(prefix="edgecomp-") as name:
        folder = Path(name)
        notes.print(machine())
        notes.print(f"the command, {arguments.compressions} times, and once more for its stages")
        figures = command_figures(arguments.compressions, folder)
        figures += stage_figures(folder)
        notes.print("the steps alone")
        subject = load_subject()
        steps, quantized, seconds = step_figures(subject, max(3, arguments.rounds // 2), folder)
        notes.print("the peers' artifacts")
        candidates = make_candidates(subject, quantized, seconds, folder, arguments.peer_python)
        measure_latencies(candidates, arguments.rounds, arguments.runs, notes.print)
        alternate(candidates, arguments.turns, notes.print)
        add_ratios(candidates)
        add_accuracies(candidates, subject, notes.print)
        figures += steps
        if arguments.json:
            json.dump(document(figures, candidates), answer, indent=2)
        else:
            show(figures, candidates, len(subject.labelled), Console(file=answer, highlight=False, width=220))


if __name__ == "__main__":
    main()
