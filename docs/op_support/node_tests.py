"""The ONNX project's backend node tests: one small model each, with inputs and the outputs that ONNX expects.

The tests give every operand as an input of the graph, also those that a real model has as constants: shapes, axes,
weights. `with_constant_operands` makes them constants.
"""

from __future__ import annotations

import hashlib
import importlib
import pickle
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.backend.test.case.test_case import TestCase

#: Operator -> the inputs that are constants in real models: they configure the operator, or are its weights.
CONSTANT_OPERANDS: dict[str, tuple[int, ...]] = {
    # Weights and what a training measured.
    "BatchNormalization": (1, 2, 3, 4),
    "Conv": (1, 2),
    "ConvInteger": (1, 2, 3),
    "ConvTranspose": (1, 2),
    "DeformConv": (1, 3),
    "GRU": (1, 2, 3, 4),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3, 4, 7),
    "LayerNormalization": (1, 2),
    "PRelu": (1,),
    "RMSNormalization": (1,),
    "RNN": (1, 2, 3, 4),
    "RotaryEmbedding": (1, 2),
    "MatMulInteger": (1, 2, 3),
    "NegativeLogLikelihoodLoss": (2,),
    "SoftmaxCrossEntropyLoss": (2,),
    "QLinearConv": (1, 2, 3, 4, 5, 6, 7, 8),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    # Scales and zero points.
    "DequantizeLinear": (1, 2),
    "QuantizeLinear": (1, 2),
    # Shapes, axes and other settings.
    "AffineGrid": (1,),
    "CenterCropPad": (1,),
    "Clip": (1, 2),
    "Col2Im": (1, 2),
    "CumProd": (1,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "If": (0,),
    "Loop": (0, 1),
    "MaxUnpool": (2,),
    "NonMaxSuppression": (2, 3, 4),
    "OneHot": (1, 2),
    "Pad": (1, 2, 3),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "ReverseSequence": (1,),
    "STFT": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}


@dataclass(frozen=True)
class NodeTest:
    """One test.

    Attributes:
        name: ONNX's name without "test_".
        op_type: The operator that is tested; for the expansion of a function, the function.
        operands: The names of the inputs that real models have as constants.
        model: The model.
        inputs: Input name -> array, in the model's order; a sequence is a list, an optional without a value None.
        expected: The outputs, in the model's order.
        rtol: How far an output may be off, relative to each number.
        atol: How far it may be off beside that.
    """

    name: str
    op_type: str
    operands: tuple[str, ...]
    model: onnx.ModelProto
    inputs: dict[str, Any]
    expected: list[Any]
    rtol: float
    atol: float


def with_constant_operands(test: NodeTest) -> NodeTest:
    """The same test with its constant operands in the model."""
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    kept = [value for value in model.graph.input if value.name not in test.operands]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(test.inputs[name], name) for name in test.inputs if name in test.operands
    )
    inputs = {name: array for name, array in test.inputs.items() if name not in test.operands}
    return replace(test, model=model, inputs=inputs)


def collect(modules: list[str] | None = None) -> list[NodeTest]:
    """The tests of the given modules of `onnx.backend.test.case.node`, or all of them."""
    from onnx.backend.test.case import node

    with warnings.catch_warnings():
        # Some tests are about numbers that overflow.
        warnings.simplefilter("ignore", RuntimeWarning)
        if modules is None:
            cases = node.collect_testcases()
        else:
            for module in modules:
                importlib.import_module(f"{node.__name__}.{module}")
            cases = node._NodeTestCases
    # A function's expansion has the inputs of the test that it was made of.
    originals = {case.name: case.model.graph.node[0] for case in cases if case.model is not None}
    return [test for case in cases for test in _read(case, originals)]


def collect_cached(folder: Path) -> list[NodeTest]:
    """All tests; onnx needs some 15 s to make them, so they are kept in `folder`."""
    path = folder / f"onnx-{onnx.__version__}-{_digest(Path(__file__))}.pickle"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(collect()))
    tests: list[NodeTest] = pickle.loads(path.read_bytes())
    return tests


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _read(case: TestCase, originals: dict[str, onnx.NodeProto]) -> Iterator[NodeTest]:
    assert case.model is not None
    assert case.data_sets is not None
    node = originals.get(case.name.partition("_expanded")[0], case.model.graph.node[0])
    names = [value.name for value in case.model.graph.input]
    wanted = [node.input[index] for index in CONSTANT_OPERANDS.get(node.op_type, ()) if index < len(node.input)]
    for inputs, outputs in case.data_sets:
        yield NodeTest(
            case.name.removeprefix("test_"),
            node.op_type,
            tuple(name for name in names if name in wanted),
            case.model,
            dict(zip(names, map(_array, inputs), strict=True)),
            list(map(_array, outputs)),
            case.rtol,
            case.atol,
        )


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return value if value is None or isinstance(value, list) else np.asarray(value)
