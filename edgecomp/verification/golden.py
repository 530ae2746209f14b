"""`golden.npz`: one sample with its outputs, for devices to prove that they compute what was verified.

It holds `inputs/NAME` and `outputs/NAME` as the original takes and gives them, and for each artifact, exactly as that
file stores them, `FILE/inputs/INDEX` and `FILE/outputs/INDEX`; `FILE/steps/INDEX` is the real size of one quantization
step of a quantized output. `device_scripts/bench.py` reads it.

When another machine agrees, in bench.py (which stands alone and has the same figures) and in the self-tests of bundles
(which carry `tolerance`, and hold the values that they carry to it):

1. A quantized output agrees when no value is more than `TOLERANCE_STEPS` quantization steps away: kernels of another
   processor round elsewhere, and through fifty layers that becomes a few steps. Eight of int8's 256 steps are 30 dB
   below the full range.
2. It also agrees when the signal is `TOLERANCE_SQNR` above the difference, as verification asks between two runtimes:
   among the many values of a picture some are always far away.
3. A float output agrees within `TOLERANCE_FLOAT` of the largest expected magnitude; other integers have to be equal.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgecomp.arrays import Array
from edgecomp.artifact import to_stored
from edgecomp.errors import SourceError
from edgecomp.verification.result import Verification

FILE = "golden.npz"
TOLERANCE_STEPS = 8.0
TOLERANCE_SQNR = 20.0
TOLERANCE_FLOAT = 1e-3


def tolerance(output: Array, step: float | None) -> float:
    """How far a value of another machine may be away, by rule 1 or 3.

    Args:
        output: What is expected, in its own unit.
        step: The size of its quantization step; None for a float.
    """
    return TOLERANCE_STEPS * step if step else max(TOLERANCE_FLOAT * float(np.abs(output).max(initial=0.0)), 1e-5)


def write(folder: Path, verification: Verification, steps: Mapping[str, float]) -> None:
    """Writes the first sample of a verification; the same one gives the same bytes.

    Args:
        folder: The result folder.
        verification: What was recorded.
        steps: Quantization step of each quantized output.
    """
    example = verification.example
    arrays: dict[str, Array] = {f"inputs/{name}": array for name, array in example["inputs"].items()}
    arrays |= {f"outputs/{name}": array for name, array in example["original"].items()}
    for file, interface in verification.interfaces.items():
        for index, spec in enumerate(interface.inputs):
            arrays[f"{file}/inputs/{index}"] = to_stored(example["inputs"][spec.name], spec)
        for index, spec in enumerate(interface.outputs):
            arrays[f"{file}/outputs/{index}"] = to_stored(example[file][spec.name], spec)
            if spec.name in steps:
                arrays[f"{file}/steps/{index}"] = np.float64(steps[spec.name])  # type: ignore[assignment]
    np.savez(folder / FILE, **arrays)  # type: ignore[arg-type]  # numpy takes the keywords for its own flag


class Golden:
    """What a `golden.npz` holds.

    Args:
        folder: The result folder.

    Attributes:
        inputs: Name -> array, as the original takes them, in its order.
        outputs: Name -> array, as the original gave them, in its order.

    Raises:
        SourceError: It has none, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        try:
            # numpy leaves a damaged file open when it opens it itself.
            with self._path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                self._arrays = dict(archive)
        except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise self._error(f"{type(error).__name__}: {error}") from None
        self.inputs, self.outputs = self._part("inputs/"), self._part("outputs/")
        if not self.inputs or not self.outputs:
            raise self._error(f"the arrays {', '.join(self._arrays) or 'none'}")

    def __getitem__(self, name: str) -> Array:
        if name not in self._arrays:
            raise self._error(f"no array {name!r}")
        array: Array = self._arrays[name]
        return array

    def steps(self, file: str) -> list[float | None]:
        """The quantization step of each of an artifact's outputs, None when it is not quantized."""
        arrays = [self._arrays.get(f"{file}/steps/{index}") for index in range(len(self.outputs))]
        return [None if array is None else float(array) for array in arrays]

    def _part(self, prefix: str) -> dict[str, Array]:
        return {name.removeprefix(prefix): array for name, array in self._arrays.items() if name.startswith(prefix)}

    def _error(self, actual: str) -> SourceError:
        return SourceError(
            str(self._path),
            expected="the golden inputs and outputs of the artifacts in the folder",
            actual=actual,
            cure="run compress again",
        )
