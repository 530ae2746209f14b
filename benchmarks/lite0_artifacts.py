"""Every artifact of EfficientNet-Lite0 against peers on the same runtime: latency, and what becomes of the predictions.

Latency is measured twice, both times with the clock of `device_scripts/bench.py`: in processes of their own, and
alternately in one process (see `compress_lite0.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from figures import Ratio, sign_interval
from lite0_command import TARGET
from peers import MissingPeerError, quantize_with_ai_edge, quantize_with_mnn, quantize_with_onnxruntime

if TYPE_CHECKING:
    from lite0_steps import Subject

    from edgecomp.benchmark import Measurement
    from edgecomp.converter import ConversionOptions
    from edgecomp.model import CompressedModel


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
    others = [other for other in candidates if other.runtime == candidate.runtime and is_peer(other) and other.turns]
    return min(others, key=lambda other: median(other.turns), default=None)


def is_peer(candidate: Candidate) -> bool:
    """Whether another tool made an artifact, or it is the float network."""
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
        if is_peer(candidate):
            candidate.ratio = alternating(judged[candidate.runtime], candidate)
            continue
        candidate.ratio = alternating(candidate, best)
        rounds = zip(best.rounds, candidate.rounds, strict=True)
        candidate.ratio_apart = sign_interval([compare(*pair, resamples=1).ratio for pair in rounds])


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
