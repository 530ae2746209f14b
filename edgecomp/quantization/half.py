"""Half precision: constants are rounded to float16 once, so that every format stores the same numbers.

What is beyond float16's range saturates at both ends: nothing becomes infinite (a mask of -3.4e38 does what one of
-65504 does) and nothing but 0 becomes 0 (an epsilon of 1e-12 still keeps a division from failing).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.query import is_float, required_constant
from edgecomp.model import CompressedModel, Step
from edgecomp.precision import Precision
from edgecomp.quantization.scheme import stays_in_float
from edgecomp.step import Stage

if TYPE_CHECKING:
    from edgecomp.workbench import Workbench

_LARGEST, _SMALLEST = float(np.finfo(np.float16).max), float(np.finfo(np.float16).smallest_subnormal)


@dataclass(frozen=True)
class HalfPrecision:
    """Settings of fp16; there are none."""

    kind: ClassVar[str] = "fp16"
    stage: ClassVar[Stage] = "precision"
    precision: ClassVar[Precision] = "fp16"

    def apply(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        """Rounds constants."""
        return round_to_half(model)


def round_to_half(model: CompressedModel) -> CompressedModel:
    """Rounds the float32 constants of a model to float16 numbers.

    Args:
        model: A simplified float model.

    Returns:
        The model with new constants, still of the type float32. What a node reads that stays in float (see
        `scheme.stays_in_float`) is not changed.
    """
    graph = model.graph.clone()
    rounded = saturated = 0
    for value in tuple(graph.graph.initializers.values()):
        readers = [use.node for use in value.uses()]
        if not is_float(value) or not readers or any(stays_in_float(node) for node in readers):
            continue
        array = required_constant(value)
        half = as_half(array)
        value.const_value = ir.tensor(half.astype(np.float32), name=value.name)
        rounded += 1
        saturated += int((np.abs(array) > _LARGEST).sum())
    step = Step("quantize", {"method": "fp16"}, {"tensors": rounded, "saturated": saturated})
    return model.after(step, graph=graph, precision="fp16")


def as_half(array: Array) -> npt.NDArray[np.float16]:
    """The float16 numbers nearest to float32 ones, saturated at both ends; infinities and NaN stay."""
    wide = np.asarray(array, np.float32)
    size = np.clip(np.abs(wide), _SMALLEST, _LARGEST)
    kept = ~np.isfinite(wide) | (wide == 0)
    half: npt.NDArray[np.float16] = np.where(kept, wide, np.copysign(size, wide)).astype(np.float16)
    return half


def is_half(array: Array) -> bool:
    """Whether every number of a float32 array is a float16 number too."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(array.astype(np.float16).astype(np.float32), array, equal_nan=True))
