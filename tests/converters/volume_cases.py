"""Windows over volumes, grids, and forms of Resize that no runtime has a flag for: in float, as int8 has neither."""

from __future__ import annotations

from typing import Any

import numpy as np
from case import Build, Case, Gap
from net import Net

_VOLUME = (2, 3, 6, 7, 8)


def _conv(weight: tuple[int, ...], *, channels: int = 3, **attributes: Any) -> Build:
    def build(net: Net) -> None:
        source = net.input(1, channels, 6, 7, 8)
        net.output(net.node("Conv", source, net.weight(*weight), net.weight(weight[0]), **attributes))

    return build


def _plain(op_type: str, shape: tuple[int, ...], *constants: Any, **attributes: Any) -> Build:
    return lambda net: net.output(net.node(op_type, net.input(*shape), *constants, **attributes))


_SCALES = np.array([1, 1, 0.6, 0.6], np.float32)
_REGION = np.array([0, 0, 0.2, 0.1, 1, 1, 0.9, 1.2], np.float32)

VOLUMES = [
    Case("conv-volume", _conv((4, 3, 3, 3, 3), pads=[1] * 6)),
    Case(
        "conv-volume-strided", _conv((4, 3, 3, 2, 3), strides=[2, 1, 2], dilations=[1, 2, 1], pads=[1, 0, 1, 0, 1, 1])
    ),
    Case("conv-volume-groups", _conv((4, 1, 2, 3, 3), channels=4, group=4, auto_pad="SAME_UPPER")),
    Case("maxpool-volume", _plain("MaxPool", _VOLUME, kernel_shape=[2, 3, 2], strides=[2, 2, 1], pads=[1, 1, 0] * 2)),
    Case("averagepool-volume", _plain("AveragePool", _VOLUME, kernel_shape=[2, 3, 2], strides=[2, 2, 1])),
    Case("averagepool-volume-pads", _plain("AveragePool", _VOLUME, kernel_shape=[3] * 3, pads=[1] * 6, ceil_mode=1)),
]
RESIZES = [
    Case("resize-antialias", _plain("Resize", (1, 3, 9, 10), None, _SCALES, mode="linear", antialias=1)),
    Case("resize-cubic-inside", _plain("Resize", (1, 3, 9, 10), None, _SCALES, mode="cubic", exclude_outside=1)),
    Case(
        "resize-region",
        _plain(
            "Resize",
            (1, 3, 9, 10),
            _REGION,
            None,
            [1, 3, 7, 8],
            mode="linear",
            coordinate_transformation_mode="tf_crop_and_resize",
            extrapolation_value=2.0,
        ),
    ),
    Case(
        "resize-not-larger",
        _plain("Resize", (1, 3, 8, 10), None, None, [4, 6], axes=[2, 3], keep_aspect_ratio_policy="not_larger"),
    ),
]
GRIDS = [
    Case("affinegrid", _plain("AffineGrid", (2, 2, 3), [2, 3, 5, 4])),
    Case("affinegrid-corners", _plain("AffineGrid", (2, 2, 3), [2, 3, 5, 4], align_corners=1)),
    Case("affinegrid-volume", _plain("AffineGrid", (1, 3, 4), [1, 2, 2, 3, 4], align_corners=1)),
]
CASES = [*VOLUMES, *RESIZES, *GRIDS]

FORMATS = ("tflite",)

GAPS = {
    "tflite": {
        f"conv-volume{kind}": Gap("1 and 2 spatial dimensions", ("int8",)) for kind in ("", "-strided", "-groups")
    }
}
