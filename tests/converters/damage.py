"""Opens and inspects damaged copies of an artifact in this process; run by test_hostile_artifacts in one of its own.

Usage: damage.py FORMAT ARTIFACT. Prints how many copies were refused and how many got through; anything but a
SourceError ends it with a traceback, and native code that crashes ends it altogether.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgecomp.converter import load_converter
from edgecomp.errors import SourceError


def damaged(content: bytes) -> Iterator[bytes]:
    """Truncated copies, copies with a flipped bit, and copies with a stretch of noise."""
    numbers = random.Random(5)
    for part in range(8):
        yield content[: len(content) * part // 8]
    for _ in range(12):
        copy = bytearray(content)
        copy[numbers.randrange(len(copy))] ^= 1 << numbers.randrange(8)
        yield bytes(copy)
    for _ in range(4):
        start = numbers.randrange(len(content))
        yield content[:start] + numbers.randbytes(16) + content[start + 16 :]
    yield b"\0" * 1000
    yield content[:8] + numbers.randbytes(1000)


def main(format_name: str, artifact: Path) -> None:
    converter = load_converter(format_name)
    path = artifact.with_name(f"damaged{artifact.suffix}")
    outcomes: Counter[str] = Counter()
    for content in damaged(artifact.read_bytes()):
        path.write_bytes(content)
        for work in (converter.inspect, converter.open):
            try:
                result = work(path)
                if work == converter.open:
                    shapes = [[size or 1 for size in spec.shape] for spec in result.inputs]
                    kinds = [np.dtype(spec.dtype) for spec in result.inputs]
                    result.run([np.zeros(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)])
                outcomes["accepted"] += 1
            except SourceError:
                outcomes["refused"] += 1
    print(dict(outcomes))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
