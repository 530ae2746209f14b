"""Recurrent layers, step by step, by the ONNX specification."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import torch

from edgecomp.graph.query import input_of
from edgecomp.graph_module.ops.node import Build, Function, UnsupportedError

Tensor = torch.Tensor
State = tuple[Tensor, ...]

#: (input, state, W, R, bias of the input, bias of the state) -> the next state, whose first tensor is the output.
_Cell = Callable[[Tensor, State, Tensor, Tensor, Tensor, Tensor], State]


def _lstm_cell(inputs: Tensor, state: State, w: Tensor, r: Tensor, wb: Tensor, rb: Tensor) -> State:
    """Gates in the order input, output, forget, cell (Hochreiter and Schmidhuber, 1997; Gers et al., 2000)."""
    hidden, cell = state
    into, out, forget, new = (inputs @ w.T + hidden @ r.T + wb + rb).chunk(4, dim=-1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(new)
    return torch.sigmoid(out) * torch.tanh(cell), cell


def _gru_cell(after: bool) -> _Cell:
    """Gates in the order update, reset, new (Cho et al., 2014); `after`: the reset gate follows the product."""

    def step(inputs: Tensor, state: State, w: Tensor, r: Tensor, wb: Tensor, rb: Tensor) -> State:
        (hidden,) = state
        left = (inputs @ w.T + wb).chunk(3, dim=-1)
        weights, biases = r.chunk(3), rb.chunk(3)
        update, reset = (torch.sigmoid(left[gate] + hidden @ weights[gate].T + biases[gate]) for gate in (0, 1))
        recurrent = (
            reset * (hidden @ weights[2].T + biases[2]) if after else (reset * hidden) @ weights[2].T + biases[2]
        )
        new = torch.tanh(left[2] + recurrent)
        return ((1 - update) * new + update * hidden,)

    return step


def _rnn_cell(inputs: Tensor, state: State, w: Tensor, r: Tensor, wb: Tensor, rb: Tensor) -> State:
    return (torch.tanh(inputs @ w.T + state[0] @ r.T + wb + rb),)


def _layer(cell_of: Callable[[ir.Node], _Cell], gates: int, states: int) -> Build:
    """Builds a layer of one cell type.

    Args:
        cell_of: Returns a node's cell.
        gates: The number of gate matrices that are stacked in its weights.
        states: The number of state tensors.
    """

    def build(node: ir.Node) -> Function:
        if {"activations", "clip"} & set(node.attributes) or input_of(node, 4) or input_of(node, 7):
            raise UnsupportedError("it has activations, clipping, lengths or peepholes of its own")
        batch_first, cell = bool(node.attributes.get_int("layout", 0)), cell_of(node)
        direction = node.attributes.get_string("direction", "forward")
        backwards = [False, True] if direction == "bidirectional" else [direction == "reverse"]
        wanted = len(node.outputs)

        def run(
            inputs: Tensor, w: Tensor, r: Tensor, bias: Tensor | None = None, _: None = None, *initial: Tensor | None
        ) -> tuple[Tensor, ...]:
            inputs = inputs.transpose(0, 1) if batch_first else inputs
            size = r.shape[-1]
            both = w.new_zeros(len(w), 2 * gates * size) if bias is None else bias
            outputs, ends = [], []
            for side, turned in enumerate(backwards):
                starts = [
                    inputs.new_zeros(inputs.shape[1], size)
                    if place >= len(initial) or initial[place] is None
                    else (initial[place][:, side] if batch_first else initial[place][side])  # type: ignore[index]
                    for place in range(states)
                ]
                halves = both[side].chunk(2)
                rows, end = _steps(cell, inputs.flip(0) if turned else inputs, tuple(starts), w[side], r[side], *halves)
                outputs.append(rows.flip(0) if turned else rows)
                ends.append(end)
            sequence = torch.stack(outputs, dim=1)
            last = [torch.stack(each, dim=1 if batch_first else 0) for each in zip(*ends, strict=True)]
            sequence = sequence.permute(2, 0, 1, 3) if batch_first else sequence
            return (sequence, *last)[:wanted]

        return run

    return build


def _steps(
    cell: _Cell, inputs: Tensor, state: State, w: Tensor, r: Tensor, wb: Tensor, rb: Tensor
) -> tuple[Tensor, State]:
    rows = []
    for row in inputs:
        state = cell(row, state, w, r, wb, rb)
        rows.append(state[0])
    return torch.stack(rows), state


RECURRENT: dict[str, Build] = {
    "GRU": _layer(lambda node: _gru_cell(bool(node.attributes.get_int("linear_before_reset", 0))), 3, 1),
    "LSTM": _layer(lambda node: _lstm_cell, 4, 2),
    "RNN": _layer(lambda node: _rnn_cell, 1, 1),
}
