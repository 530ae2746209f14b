"""What becomes of a damaged model: an error of edgecomp, or artifacts that compute what ONNX Runtime computes."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from mutation import mutate
from seeds import models

from edgecomp import load
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import EdgecompError
from edgecomp.frontends import load_source, runtime
from edgecomp.model import CompressedModel
from edgecomp.preparation import prepare

#: Formats that are written in this process; "mnn" takes two more for every model.
FORMATS = ("tflite", "onnxruntime")
#: Outcomes that are right; everything else is a finding.
FINE = frozenset({"refused", "right"})
_FORK = multiprocessing.get_context("fork")


def outcome(seed: int, folder: Path, formats: Sequence[str] = FORMATS) -> str:
    """ "refused", "right", or what went wrong, in this process."""
    models_ = list(models().values())
    path = folder / "model.onnx"
    path.write_bytes(mutate(models_[seed % len(models_)], seed))
    try:
        source = load_source(path)
    except EdgecompError as error:
        str(error).encode()
        return "refused"
    try:
        model = prepare(source)
        expected = source.reference(source.inputs)
    except EdgecompError:
        return "refused"
    found = {_convert(model, name, folder, source.inputs, expected) for name in formats}
    return next((entry for entry in sorted(found) if entry not in FINE), "right" if "right" in found else "refused")


def _convert(
    model: CompressedModel, name: str, folder: Path, inputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]
) -> str:
    converter = load_converter(name)
    try:
        path = converter.convert(model, folder / f"model{converter.suffixes[0]}", ConversionOptions()).path
        results = load(path).predict(list(inputs))
    except EdgecompError:
        return "refused"
    if _is_beyond_litert(model, name, results.values()):
        return "refused"
    # A rounding that goes the other way is a step of the tensor that it happens in.
    step = max((float(entry.scale.max()) for entry in model.quantization.values()), default=0.0)
    for wanted, (output, result) in zip(expected, results.items(), strict=True):
        slack = 2 * step / (float(np.ptp([0.0, *wanted.ravel()])) or 1.0)
        if runtime.difference(wanted, result) > 1e-4 + slack:
            return f"{name}: {output} differs by {runtime.difference(wanted, result):.3g}"
    return "right"


def _is_beyond_litert(model: CompressedModel, name: str, results: Iterable[np.ndarray]) -> bool:
    """Whether damage made weights so large that LiteRT's sigmoid gives NaN, as XNNPACK's does beyond 1e28 on AVX-512.

    A job rejects such an artifact, since verification finds the NaN; a converter by itself runs nothing.
    """
    if name != "tflite" or not any(np.isnan(result).any() for result in results if result.dtype.kind == "f"):
        return False
    weights = (value.const_value for value in model.graph.graph.initializers.values())
    arrays = (weight.numpy() for weight in weights if weight is not None)
    return any(array.dtype.kind == "f" and np.abs(array).max(initial=0) > 1e20 for array in arrays)


def fuzz(
    seeds: Sequence[int],
    limit: float,
    formats: Sequence[str] = FORMATS,
    batch: int = 50,
    judge: Callable[[int, Path, Sequence[str]], str] | None = None,
) -> Iterator[tuple[int, str]]:
    """Seeds and what became of them, by `outcome` or another; each in a process that may crash or hang without harm."""
    waiting = list(seeds)
    while waiting:
        here, there = _FORK.Pipe(duplex=False)
        process = _FORK.Process(target=_work, args=(there, waiting[:batch], formats, judge or outcome))
        process.start()
        there.close()
        done, ending = 0, ""
        try:
            while done < min(batch, len(waiting)) and not ending:
                if here.poll(limit):
                    yield waiting[done], here.recv()
                    done += 1
                else:
                    ending = f"no answer in {limit:g} s"
        except EOFError:
            process.join()
            ending = f"the process ended with {process.exitcode}"
        finally:
            process.kill()
            process.join()
        if ending:
            yield waiting[done], ending
            done += 1
        del waiting[:done]


def _work(
    pipe: Connection, seeds: Sequence[int], formats: Sequence[str], judge: Callable[[int, Path, Sequence[str]], str]
) -> None:
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            try:
                pipe.send(judge(seed, Path(folder), formats))
            except Exception as error:  # whatever is not an error of edgecomp is a finding
                pipe.send(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    os._exit(0)


def main(count: int, *formats: str) -> None:
    """Prints the findings of many seeds."""
    start, found = time.monotonic(), []
    for seed, result in fuzz(range(count), 60, formats or FORMATS):
        found.append(result)
        if result not in FINE:
            print(seed, result, flush=True)
    print({kind: found.count(kind) for kind in FINE}, f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    import sys

    main(int(sys.argv[1]), *sys.argv[2:])
