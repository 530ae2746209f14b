"""Cases of operators that work with indices and places, and of movers on other types and ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
from case import Build, Case, single
from net import Net

_FLOAT, _INT32, _INT64, _BOOL = 1, 6, 7, 9


def _indices(net: Net, *shape: int, high: int, negative: bool = True, dtype: str = "int64") -> Any:
    """Computed indices, from both ends of a dimension."""
    found = net.input(*shape, dtype=dtype, high=2 * high if negative else high)
    return net.node("Sub", found, net.constant(np.array(high, dtype))) if negative else found


def _gather(shape: tuple[int, ...], where: tuple[int, ...], axis: int, dtype: str = "int64") -> Build:
    def build(net: Net) -> None:
        source = net.image(*shape) if len(shape) == 4 else net.input(*shape)
        net.output(net.node("Gather", source, _indices(net, *where, high=shape[axis], dtype=dtype), axis=axis))

    return build


def _gather_elements(axis: int, *, constant: bool = False) -> Build:
    def build(net: Net) -> None:
        high = (1, 4, 6, 8)[axis]
        found = np.arange(1 * 4 * 5 * 8).reshape(1, 4, 5, 8) % high - 1
        where = net.constant(found) if constant else _indices(net, 1, 4, 5, 8, high=high)
        net.output(net.node("GatherElements", net.image(), where, axis=axis))

    return build


def _gather_nd(where: tuple[int, ...], batch: int = 0) -> Build:
    """Indices that fit any dimension of (2, 3, 4)."""
    return lambda net: net.output(
        net.node("GatherND", net.input(2, 3, 4), _indices(net, *where, high=2), batch_dims=batch)
    )


_ROWS = np.array([[0, 1], [-1, 2], [0, -1]])


def _scatter_nd(reduction: str = "none", *, computed: bool = False) -> Build:
    def build(net: Net) -> None:
        where: Any = _ROWS
        if computed:
            where = net.node("Add", net.constant(_ROWS), net.node("Mul", net.input(dtype="int64"), np.array(0)))
        net.output(net.node("ScatterND", net.input(2, 3, 4), where, net.input(3, 4), reduction=reduction))

    return build


def _scatter_elements(reduction: str = "none", *, zeros: bool = False) -> Build:
    def build(net: Net) -> None:
        source = np.zeros((3, 5), np.float32) if zeros else net.input(3, 5)
        where = np.array([[0, 2], [1, -1], [3, 0]])
        net.output(net.node("ScatterElements", source, where, net.input(3, 2), axis=1, reduction=reduction))

    return build


def _scatter_repeated(net: Net) -> None:
    """What goes to the same place is added up."""
    where = net.input(3, 2, dtype="int64", high=5)
    net.output(net.node("ScatterElements", net.input(3, 5), where, net.input(3, 2), axis=1, reduction="add"))


def _one_hot(axis: int, *, values: Any = (0.0, 1.0)) -> Build:
    def build(net: Net) -> None:
        where = _indices(net, 2, 3, high=5)
        net.output(net.node("OneHot", where, np.array(5), net.constant(np.array(values, np.float32)), axis=axis))

    return build


def _arg(op_type: str, **attributes: Any) -> Build:
    """Few different numbers, so that the first and last of equals differ."""

    def build(net: Net) -> None:
        numbers = net.node("Cast", net.input(2, 5, 6, dtype="int32", high=4), to=_FLOAT)
        net.output(net.node(op_type, numbers, **attributes))

    return build


def _top_k(count: int, **attributes: Any) -> Build:
    def build(net: Net) -> None:
        net.output(*net.node("TopK", net.image(), [count], outputs=2, **attributes))

    return build


def _top_k_integers(net: Net) -> None:
    net.output(*net.node("TopK", net.input(3, 7, dtype="int64", high=1000), [3], outputs=2, largest=0))


def _detections(net: Net) -> None:
    """How a detector picks its best boxes: the largest scores, and the rows that they stand for."""
    scores, boxes = net.input(1, 20), net.input(1, 20, 4)
    best, where = net.node("TopK", scores, [5], outputs=2)
    rows = net.node("GatherElements", boxes, net.node("Expand", net.node("Unsqueeze", where, [-1]), [1, 5, 4]), axis=1)
    net.output(best, rows)


INDICES = [
    Case("gather-computed", _gather((1, 4, 6, 8), (3,), 1)),
    Case("gather-computed-matrix", _gather((1, 4, 6, 8), (2, 3), 3)),
    Case("gather-computed-scalar", _gather((1, 4, 6, 8), (), 2)),
    Case("gather-computed-int32", _gather((5, 6), (2, 2), 0, "int32")),
    Case("gather-scalar", single("Gather", -1, axis=2)),
    Case("gatherelements-channels", _gather_elements(1)),
    Case("gatherelements-width", _gather_elements(3)),
    Case("gatherelements-constant", _gather_elements(3, constant=True)),
    Case("gathernd", _gather_nd((5, 2))),
    Case("gathernd-whole", _gather_nd((2, 5, 3))),
    Case("gathernd-batch", _gather_nd((2, 5, 1), batch=1)),
    Case("scatternd", _scatter_nd()),
    Case("scatternd-computed", _scatter_nd(computed=True)),
    *(Case(f"scatternd-{reduction}", _scatter_nd(reduction)) for reduction in ("add", "mul", "max", "min")),
    Case("scatterelements", _scatter_elements()),
    Case("scatterelements-zeros", _scatter_elements(zeros=True)),
    Case("scatterelements-add", _scatter_elements("add")),
    Case("scatterelements-max", _scatter_elements("max")),
    Case("scatterelements-repeated", _scatter_repeated),
    Case("onehot-last", _one_hot(-1)),
    Case("onehot-first", _one_hot(0, values=(-1.0, 2.0))),
    Case("argmax", _arg("ArgMax", axis=1)),
    Case("argmax-flat", _arg("ArgMax", axis=-1, keepdims=0)),
    Case("argmax-last", _arg("ArgMax", axis=1, select_last_index=1)),
    Case("argmin", _arg("ArgMin", axis=0)),
    Case("argmin-last", _arg("ArgMin", axis=2, keepdims=0, select_last_index=1)),
    Case("argmax-channels", single("ArgMax", axis=1, keepdims=0)),
    Case("topk-last", _top_k(3)),
    Case("topk-channels", _top_k(2, axis=1)),
    Case("topk-smallest", _top_k(3, largest=0)),
    Case("topk-integers", _top_k_integers),
    Case("detections", _detections),
]


def _cumulative(**attributes: Any) -> Build:
    return lambda net: net.output(net.node("CumSum", net.input(2, 3, 4), np.array(1), **attributes))


def _cumulative_positions(net: Net) -> None:
    """How positions are counted from an attention mask."""
    net.output(net.node("CumSum", net.input(2, 6, dtype="int64"), np.array(1)))


def _trilu(diagonal: int, *, upper: int) -> Build:
    return lambda net: net.output(net.node("Trilu", net.input(2, 4, 5), np.array(diagonal), upper=upper))


def _reverse(net: Net) -> None:
    lengths = net.constant(np.array([2, 4, 1]))
    net.output(net.node("ReverseSequence", net.input(4, 3, 2), lengths, time_axis=0, batch_axis=1))


def _chosen(axis: int | None) -> Build:
    attributes = {} if axis is None else {"axis": axis}
    condition = np.array([True, False, True])
    return lambda net: net.output(net.node("Compress", net.input(2, 3), condition, **attributes))


ORDERS = [
    Case("cumsum", _cumulative()),
    Case("cumsum-exclusive", _cumulative(exclusive=1)),
    Case("cumsum-reverse", _cumulative(reverse=1)),
    Case("cumsum-both", _cumulative(exclusive=1, reverse=1)),
    Case("cumsum-int64", _cumulative_positions),
    Case("trilu-upper", _trilu(1, upper=1)),
    Case("trilu-lower", _trilu(-1, upper=0)),
    Case("reversesequence", _reverse),
    Case("compress", _chosen(1)),
    Case("compress-flat", _chosen(None)),
]


def _moved(op_type: str, *constants: Any, kind: int, shape: tuple[int, ...] = (2, 3, 4), **attributes: Any) -> Build:
    """A mover on integers or truth values."""

    def build(net: Net) -> None:
        numbers = net.node("Cast", net.input(*shape, dtype="int32", high=2 if kind == _BOOL else 90), to=kind)
        net.output(net.node("Cast", net.node(op_type, numbers, *constants, **attributes), to=_INT32))

    return build


def _joined(kind: int) -> Build:
    def build(net: Net) -> None:
        parts = [net.node("Cast", net.input(2, size, dtype="int32"), to=kind) for size in (3, 1)]
        joined = net.node("Concat", *parts, axis=1)
        halves = net.node("Split", joined, [2, 2], outputs=2, axis=1)
        net.output(*(net.node("Cast", half, to=_INT32) for half in halves))

    return build


def _on_inputs(op_type: str, *shapes: tuple[int, ...], **attributes: Any) -> Build:
    return lambda net: net.output(net.node(op_type, *(net.input(*shape) for shape in shapes), **attributes))


_TYPES = {"int64": _INT64, "bool": _BOOL, "int8": 3, "uint8": 2}
MOVES = [
    *(
        case
        for name, kind in _TYPES.items()
        for case in (
            Case(f"concat-split-{name}", _joined(kind)),
            Case(f"transpose-{name}", _moved("Transpose", kind=kind, perm=[2, 0, 1])),
            Case(f"slice-{name}", _moved("Slice", [1], [4], [2], [2], kind=kind)),
            Case(f"gather-{name}", _moved("Gather", [2, 0], kind=kind, axis=1)),
            Case(f"reshape-{name}", _moved("Reshape", [4, -1], kind=kind)),
            Case(f"expand-{name}", _moved("Expand", [2, 3, 4], kind=kind, shape=(3, 1))),
            Case(f"tile-{name}", _moved("Tile", [1, 2, 1], kind=kind)),
        )
    ),
    Case("pad-int64", _moved("Pad", [0, 1, 0, 0, 0, 2], np.array(7), kind=_INT64)),
    Case("reducemax-bool", _moved("ReduceMax", [1], kind=_BOOL)),
    Case("reducemin-bool", _moved("ReduceMin", [1], kind=_BOOL, keepdims=0)),
    Case("reducesum-int64", _moved("ReduceSum", [0, 2], kind=_INT64)),
    Case("reduceprod-int32", _moved("ReduceProd", [0], kind=_INT32)),
    Case("transpose-rank-6", _on_inputs("Transpose", (1, 2, 3, 2, 2, 3), perm=[5, 0, 3, 1, 4, 2])),
    Case("add-rank-6", _on_inputs("Add", (2, 1, 3, 1, 2, 2), (1, 2, 3, 2, 1, 2))),
]


def _normalized(axis: int, p: int) -> Build:
    return single("LpNormalization", axis=axis, p=p)


def _noop(net: Net) -> None:
    net.output(net.node("ReduceSum", net.image(), net.constant(np.array([], np.int64)), noop_with_empty_axes=1))


_REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd")
REDUCTIONS = [
    *(
        Case(f"{op.lower()}-{name}", single(op, list(axes), keepdims=int(name == "channels")))
        for op in _REDUCTIONS
        for name, axes in (("space", (2, 3)), ("channels", (1,)))
    ),
    Case("reducelogsum", lambda net: net.output(net.node("ReduceLogSum", net.node("Sigmoid", net.image()), [1]))),
    Case("reducesum-all", single("ReduceSum", keepdims=0)),
    Case("reducesum-noop", _noop),
    Case("lpnormalization", _normalized(1, 2)),
    Case("lpnormalization-sum", _normalized(-1, 1)),
]


def _pool_with_indices(**attributes: Any) -> Build:
    def build(net: Net) -> None:
        net.output(*net.node("MaxPool", net.image(2, 3, 7, 8), kernel_shape=[3, 2], outputs=2, **attributes))

    return build


def _unpool(net: Net) -> None:
    pooled, where = net.node("MaxPool", net.image(1, 3, 6, 8), kernel_shape=[2, 2], strides=[2, 2], outputs=2)
    net.output(net.node("MaxUnpool", pooled, where, kernel_shape=[2, 2], strides=[2, 2]))


POOLS = [
    Case("maxpool-dilated-strided", single("MaxPool", kernel_shape=[3, 2], dilations=[2, 3], strides=[1, 2])),
    Case("maxpool-dilated-pads", single("MaxPool", kernel_shape=[2, 2], dilations=[2, 2], pads=[1, 1, 1, 1])),
    Case("maxpool-dilated-1d", single("MaxPool", shape=(1, 4, 12), kernel_shape=[3], dilations=[2])),
    Case("maxpool-indices", _pool_with_indices(strides=[2, 2])),
    Case("maxpool-indices-pads", _pool_with_indices(pads=[1, 0, 1, 1])),
    Case("maxpool-indices-columns", _pool_with_indices(storage_order=1)),
    Case("maxunpool", _unpool),
    Case("lppool", single("LpPool", kernel_shape=[2, 3], strides=[2, 1], pads=[1, 0, 0, 1])),
    Case("lppool-ceil", single("LpPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, p=1)),
    Case("globallppool", single("GlobalLpPool", p=3)),
    Case("spacetodepth-twice", lambda net: net.output(_shuffled_back(net))),
]


def _shuffled_back(net: Net) -> Any:
    deep = net.node("SpaceToDepth", net.image(1, 2, 4, 6), blocksize=2)
    return net.node("DepthToSpace", deep, blocksize=2, mode="CRD")


CASES = [*INDICES, *ORDERS, *MOVES, *REDUCTIONS, *POOLS]

#: MNN has a long list of its own.
FORMATS = ("tflite", "onnxruntime", "ort")

ISLANDS = {
    "tflite": {
        **{f"{op.lower()}-{name}": (op,) for op in _REDUCTIONS for name in ("space", "channels")},
        **{f"gatherelements-{kind}": ("GatherElements",) for kind in ("channels", "width", "constant")},
        **{f"topk-{kind}": ("TopK",) for kind in ("last", "channels", "smallest")},
        **{f"maxpool-indices{kind}": ("MaxPool",) for kind in ("", "-pads", "-columns")},
        **dict.fromkeys(("lpnormalization", "lpnormalization-sum"), ("LpNormalization",)),
        **dict.fromkeys(("lppool", "lppool-ceil"), ("LpPool",)),
        "globallppool": ("GlobalLpPool",),
        "maxunpool": ("MaxPool", "MaxUnpool"),
        "reducelogsum": ("ReduceLogSum",),
    },
}
