"""LSTM, GRU and RNN, and the operators with subgraphs that they become."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from case import Build, Case
from net import Net

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(
    op: str,
    *,
    steps: int = 4,
    batch: int = 2,
    hidden: int = 3,
    bias: bool = True,
    lengths: list[int] | None = None,
    states: bool = False,
    peepholes: bool = False,
    results: int = 2,
    **attributes: Any,
) -> Build:
    """A recurrent layer behind a Relu; `results` of its outputs are read.

    Args:
        op: LSTM, GRU or RNN.
        steps: Length of the sequence.
        batch: Number of sequences.
        hidden: Size of the state.
        bias: Whether there is one.
        lengths: Of each sequence.
        states: Whether the initial state is an input.
        peepholes: LSTM's.
        results: How many outputs are read.
        **attributes: Of the node.
    """

    def build(net: Net) -> None:
        directions = 2 if attributes.get("direction") == "bidirectional" else 1
        batch_first = attributes.get("layout", 0)
        source = net.node("Relu", net.input(*((batch, steps, 5) if batch_first else (steps, batch, 5))))
        width = _GATES[op] * hidden
        inputs: list[Any] = [source, net.weight(directions, width, 5), net.weight(directions, width, hidden)]
        inputs.append(net.weight(directions, 2 * width) if bias else None)
        inputs.append(None if lengths is None else net.constant(lengths, "int32"))
        state = (batch, directions, hidden) if batch_first else (directions, batch, hidden)
        for place in range(2 if op == "LSTM" else 1):
            inputs.append(net.input(*state) if states and place < 2 else None)
        if peepholes:
            inputs.append(net.weight(directions, 3 * hidden))
        while inputs[-1] is None:
            inputs.pop()
        outputs = net.node(op, *inputs, outputs=max(results, 2), hidden_size=hidden, **attributes)
        net.output(*outputs[:results])

    return build


def _lstm_classifier(net: Net) -> None:
    """A convolution over a picture of text, an LSTM along its width, and a linear layer for every step."""
    x = net.node("Conv", net.input(1, 3, 8, 24), net.weight(6, 3, 8, 3), net.weight(6), pads=[0, 1, 0, 1])
    x = net.node("Transpose", net.node("Squeeze", net.node("Relu", x), np.array([2])), perm=[2, 0, 1])
    weights = net.weight(2, 32, 6), net.weight(2, 32, 8), net.weight(2, 64)
    y, _ = net.node("LSTM", x, *weights, outputs=2, hidden_size=8, direction="bidirectional")
    y = net.node("Reshape", net.node("Transpose", y, perm=[0, 2, 1, 3]), np.array([24, 16]))
    net.output(net.node("Softmax", net.node("Gemm", y, net.weight(16, 7), net.weight(7))))


def _value(name: str, like: ir.Value, *shape: int) -> ir.Value:
    return ir.Value(name=name, type=like.type, shape=ir.Shape(shape))


def _branch(net: Net, op_type: str, *inputs: ir.Value) -> ir.Graph:
    inner = Net(prefix=f"{net.prefix}{op_type}/", opset=net.opset)
    result = inner.node(op_type, *inputs)
    result.type, result.shape = inputs[0].type, inputs[0].shape
    return ir.Graph([], [result], nodes=inner.nodes, opset_imports={"": net.opset}, name=f"{net.prefix}{op_type}")


def _if_computed(net: Net) -> None:
    source, flag = net.input(2, 3), net.input(1, dtype="int32")
    condition = net.node("Cast", net.node("Reshape", flag, np.zeros(0, np.int64)), to=int(ir.DataType.BOOL))
    y = net.node("Relu", source)
    branches = {"then_branch": _branch(net, "Tanh", y), "else_branch": _branch(net, "Mul", y, y)}
    net.output(net.node("If", condition, **branches))


def _loop(turns: int) -> Build:
    """x' = tanh(x) + step, for a number of turns; gives the last x and all of them."""

    def build(net: Net) -> None:
        source, step = net.input(2, 3), net.node("Sigmoid", net.input(2, 3))
        inner = Net(prefix=f"{net.prefix}body/", opset=net.opset)
        index = ir.Value(name=f"{inner.prefix}index", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(()))
        going = ir.Value(name=f"{inner.prefix}going", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape(()))
        x = _value(f"{inner.prefix}x", source, 2, 3)
        following = inner.node("Add", inner.node("Tanh", x), step)
        on = inner.node("Identity", going)
        copy = inner.node("Identity", following)
        following.type = copy.type = source.type
        following.shape = copy.shape = ir.Shape((2, 3))
        on.type, on.shape = going.type, going.shape
        outputs = [on, following, copy]
        body = ir.Graph([index, going, x], outputs, nodes=inner.nodes, opset_imports={"": 20}, name=f"{net.prefix}body")
        last, every = net.node("Loop", turns, np.array(True), source, outputs=2, body=body)
        net.output(last, every)

    return build


_BOTH = {"direction": "bidirectional"}
_CASES: list[Case] = [
    Case("lstm", recurrent("LSTM", results=1)),
    Case("lstm-all-outputs", recurrent("LSTM", results=3, states=True)),
    Case("lstm-bidirectional", recurrent("LSTM", results=3, **_BOTH)),
    Case("lstm-reverse-no-bias", recurrent("LSTM", bias=False, direction="reverse")),
    Case("lstm-peepholes", recurrent("LSTM", peepholes=True, results=3)),
    Case("lstm-lengths", recurrent("LSTM", lengths=[4, 2], results=3, **_BOTH)),
    Case("lstm-coupled-clipped", recurrent("LSTM", input_forget=1, clip=0.5)),
    Case("lstm-clipped", recurrent("LSTM", steps=12, clip=0.1)),
    Case(
        "lstm-activations",
        recurrent(
            "LSTM",
            results=3,
            activations=["HardSigmoid", "ScaledTanh", "LeakyRelu"],
            activation_alpha=[0.3, 1.5, 0.1],
            activation_beta=[0.4, 0.7],
        ),
    ),
    Case("lstm-long", recurrent("LSTM", steps=150, results=3, **_BOTH)),
    Case("lstm-classifier", _lstm_classifier),
    Case("gru", recurrent("GRU", states=True)),
    Case("gru-torch", recurrent("GRU", linear_before_reset=1, **_BOTH)),
    Case("gru-no-bias", recurrent("GRU", bias=False, direction="reverse")),
    Case("gru-long-lengths", recurrent("GRU", steps=90, lengths=[30, 90], linear_before_reset=1, **_BOTH)),
    Case("gru-loop-of-loops", recurrent("GRU", steps=307, batch=1, hidden=96, linear_before_reset=1)),
    Case("rnn", recurrent("RNN")),
    Case("rnn-relu-bidirectional", recurrent("RNN", activations=["Relu", "Relu"], states=True, **_BOTH)),
    Case("if-computed", _if_computed),
    Case("loop-short", _loop(3)),
    Case("loop-long", _loop(100)),
]
#: A step of the quantized input may grow from turn to turn.
CASES = [replace(case, steps=2.0) for case in _CASES]
