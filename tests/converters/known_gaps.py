"""What formats are known not to do, as data: a case listed here must fail in just this way, so the list stays true."""

from __future__ import annotations

from case import Gap

GAPS: dict[str, dict[str, Gap]] = {
    "mnn": {
        **dict.fromkeys(("bitwiseand", "bitwiseor", "bitwisexor", "bitwisenot"), Gap("does not know this operator")),
        # Indices of windows, what is scattered to one place or to computed ones, and the largest integers.
        **dict.fromkeys(
            (
                *(f"maxpool-indices{kind}" for kind in ("", "-pads", "-columns")),
                *(f"scatternd-{kind}" for kind in ("computed", "add", "mul", "max", "min")),
                *(f"scatterelements-{kind}" for kind in ("add", "max", "repeated")),
                "maxunpool",
                "topk-integers",
                "bitshift-left",
            ),
            Gap("computes it wrongly"),
        ),
        "maxpool-dilated-pads": Gap("ignores the dilations of a pool"),
    },
}

_TRANSPOSED = (
    "stride2", "pads", "output-padding", "asymmetric", "same-upper", "same-lower", "no-bias", "groups", "depthwise",
    "1d", "dilated", "output-shape", "relu", "gap",
)  # fmt: skip
_OTHER_ROUNDINGS = ("pytorch_half_pixel-round_prefer_ceil", "align_corners-round_prefer_ceil", "asymmetric-ceil")
_REDUCED = ("2-3-keep0", "2-3-keep1", "1-keep0", "1-keep1", "-1-keep0", "0-2-keep0", "0-1-2-3-keep0")

#: Nodes of the int8 model that a format computes in float, by case; every other node is in integers.
ISLANDS: dict[str, dict[str, tuple[str, ...]]] = {
    "tflite": {
        **dict.fromkeys(("div-activations", "div-broadcast"), ("Add", "Div")),
        **dict.fromkeys(("elu", "elu-alpha"), ("Elu",)),
        **dict.fromkeys(("layernorm-last", "layernorm-image"), ("LayerNormalization",)),
        "concat-for-outputs": ("Concat",),
        # Their int8 kernels round once more, or otherwise.
        "hardswish": ("HardSwish",),
        **dict.fromkeys(("hardsigmoid", "hardsigmoid-odd"), ("HardSigmoid",)),
        **dict.fromkeys(("leakyrelu", "leakyrelu-steep"), ("LeakyRelu",)),
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
    # MNN has int8 kernels for convolutions, arithmetic and resizes; other operators are float unless they become these.
    "mnn": {
        "slice-reverse-first": ("Slice",),
        **{f"convtranspose-{kind}": ("ConvTranspose",) for kind in _TRANSPOSED},
        **{f"{op.lower()}-{axes}": (op,) for op in ("ReduceMax", "ReduceMin", "ReduceSum") for axes in _REDUCED},
        # A mean over height and width is a convolution.
        **{f"reducemean-{axes}": ("ReduceMean",) for axes in _REDUCED if not axes.startswith("2-3")},
        "squeeze-unsqueeze": ("ReduceMean",),
        # A product with a constant matrix is a convolution.
        **dict.fromkeys(
            ("gemm-two-activations", "matmul-stack", "matmul-left-constant", "matmul-two-activations"), ("MatMul",)
        ),
        **dict.fromkeys(("matmul-batched", "matmul-broadcast"), ("MatMul",)),
        "matmul-attention": ("MatMul", "Softmax"),
        # MNN makes a square or a SiLU of these products.
        **dict.fromkeys(("mul-itself", "silu"), ("Mul",)),
        **dict.fromkeys(("div-activations", "div-broadcast", "sigmoid", "two-outputs"), ("Sigmoid",)),
        "concat-fixed-and-measured": ("Sigmoid",),
        "concat-two-fixed": ("Sigmoid", "Tanh"),
        # Saturation in int8 does the same as most other bounds.
        **dict.fromkeys(("conv-clip-odd", "conv-clip-positive", "clip-positive", "clip-unit"), ("Clip",)),
        **dict.fromkeys(("leakyrelu", "leakyrelu-steep"), ("LeakyRelu",)),
        **dict.fromkeys(("prelu-per-channel", "prelu-scalar"), ("PRelu",)),
        # Coordinates and roundings that MNN does not know.
        **{
            f"resize-{kind}": ("Resize",)
            for kind in (
                "linear-symmetric",
                *(f"nearest-{mode}-{size}" for mode in _OTHER_ROUNDINGS for size in ("up", "down", "odd")),
            )
        },
        "hardswish": ("HardSwish",),
        **dict.fromkeys(("hardsigmoid", "hardsigmoid-odd"), ("HardSigmoid",)),
        "tanh": ("Tanh",),
        **dict.fromkeys(("gelu", "gelu-tanh", "gelu-erf"), ("Gelu",)),
        **dict.fromkeys(("softmax-last", "softmax-channels", "softmax-width"), ("Softmax",)),
        # MNN's integer maximum is wrong.
        **{f"maxpool{kind}": ("MaxPool",) for kind in ("", "-pads", "-pads-even", "-ceil", "-same-lower", "-1d")},
        **dict.fromkeys(("maxpool-dilated", "flatten-two-linear"), ("MaxPool",)),
        "maxpool-negative": ("MaxPool", "Sigmoid"),
        "globalmaxpool": ("GlobalMaxPool",),
        **dict.fromkeys(("tan", "asin", "acos", "atanh", "acosh"), ("Tanh",)),
        **dict.fromkeys(("pow-activations", "reducelogsum"), ("Sigmoid",)),
        **dict.fromkeys(("reducesum-all", "reducesum-noop"), ("ReduceSum",)),
        **{f"maxpool-dilated-{kind}": ("MaxPool",) for kind in ("strided", "1d")},
        **{f"gather-{kind}": ("Gather",) for kind in ("computed", "computed-matrix", "computed-scalar", "scalar")},
        "clip-computed": ("ReduceMean",),
        # A loop over the indices.
        **{f"gather-{kind}": ("Gather",) for kind in ("constant", "one", "matrix")},
        **dict.fromkeys(("embedding-int64", "embedding-int32"), ("Gather",)),
    },
}
