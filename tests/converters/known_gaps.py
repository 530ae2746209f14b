"""What formats are known not to do, as data: a case listed here must fail in just this way, so the list stays true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["float", "int8"]


@dataclass(frozen=True)
class Gap:
    """Why a format refuses a case.

    Attributes:
        reason: What the error message says.
        precisions: Where.
    """

    reason: str
    precisions: tuple[Precision, ...] = ("float", "int8")


GAPS: dict[str, dict[str, Gap]] = {
    "tflite": {
        "maxpool-dilated": Gap("pools have no dilation"),
    },
    "mnn": {
        "resize-cubic": Gap("cubic interpolation gives other numbers"),
        "resize-linear-symmetric": Gap("does not know these coordinates"),
        **{
            f"resize-nearest-{mode}-{size}": Gap("ignores nearest_mode=")
            for mode in ("pytorch_half_pixel-round_prefer_ceil", "align_corners-round_prefer_ceil", "asymmetric-ceil")
            for size in ("up", "down", "odd")
        },
    },
}

#: Formats that are not in the contract yet, and why; their tests are skipped with these words.
PENDING: dict[str, str] = {}

#: Nodes of the int8 model that a format computes in float, by case; every other node is in integers.
ISLANDS: dict[str, dict[str, tuple[str, ...]]] = {
    "tflite": {
        **dict.fromkeys(("div-activations", "div-broadcast"), ("Div",)),
        **dict.fromkeys(("elu", "elu-alpha"), ("Elu",)),
        **dict.fromkeys(("layernorm-last", "layernorm-image"), ("LayerNormalization",)),
        # Dividing by the number of elements that are not padding would round twice.
        **dict.fromkeys(
            (
                "averagepool-pads",
                "averagepool-ceil",
                "averagepool-ceil-counted",
                "averagepool-asymmetric",
                "averagepool-1d",
            ),
            ("AveragePool",),
        ),
        # Coordinates that RESIZE_BILINEAR has no flags for.
        **dict.fromkeys(
            ("resize-linear-one-row", "resize-linear-odd-scales", "resize-linear-symmetric", "resize-cubic"),
            ("Resize",),
        ),
    },
}


def gap(format_name: str, case: str, precision: Precision) -> Gap | None:
    found = GAPS.get(format_name, {}).get(case)
    return found if found is not None and precision in found.precisions else None
