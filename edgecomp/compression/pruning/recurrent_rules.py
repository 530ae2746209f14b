"""Rules for recurrent modules, each recorded as one operation.

Weights are (gates x hidden, input) and (gates x hidden, hidden), biases (gates x hidden,). PyTorch's modules have one
hidden size for all layers and directions, so a hidden unit is removed from all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from edgecomp.compression.pruning.scope import Product, Scope
from edgecomp.compression.pruning.trace import Call
from edgecomp.compression.pruning.units import Labels, Units


def recurrent(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """`nn.LSTM`, `nn.GRU` and `nn.RNN`: any number of layers, one or two directions."""
    module: Any = call.op
    if module.proj_size or isinstance(call.args[0], torch.nn.utils.rnn.PackedSequence):
        return _left_alone(call, scope)
    data, output = call.args[0], call.outputs[0]
    steps = math.prod(data.shape[:-1])
    inner = scope[data][-1]
    suffixes = ("", "_reverse") if module.bidirectional else ("",)
    hidden = scope[module.weight_hh_l0][1]
    for layer in range(module.num_layers):
        for suffix in suffixes:
            weights = [
                getattr(module, f"{name}_l{layer}{suffix}", None)
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            _layer(weights, inner, hidden, steps, scope, call)
        inner = np.tile(hidden, len(suffixes))
    states = _states(call, scope, hidden)
    return [(*scope[output][:-1], inner), *states]


def recurrent_cell(call: Call, scope: Scope) -> Sequence[Labels | None]:
    """`nn.LSTMCell`, `nn.GRUCell` and `nn.RNNCell`: one step."""
    module: Any = call.op
    hidden = scope[module.weight_hh][1]
    data = call.args[0]
    weights = [module.weight_ih, module.weight_hh, module.bias_ih, module.bias_hh]
    _layer(weights, scope[data][-1], hidden, math.prod(data.shape[:-1]), scope, call)
    return _states(call, scope, hidden, outputs=call.outputs)


def _layer(
    weights: Sequence[torch.Tensor | None], inner: Units, hidden: Units, steps: int, scope: Scope, call: Call
) -> None:
    """Joins one layer in one direction: every gate has all hidden units."""
    of_input, of_hidden, *biases = weights
    assert of_input is not None, "recurrent modules have weights for their input"
    assert of_hidden is not None, "recurrent modules have weights for their state"
    gates = np.tile(hidden, of_input.shape[0] // len(hidden))
    scope.table.join(scope[of_input][1], inner, call.where)
    scope.table.join(scope[of_hidden][1], hidden, call.where)
    for tensor in (of_input, of_hidden, *biases):
        if tensor is not None:
            scope.table.join(scope[tensor][0], gates, call.where)
    scope.products += [Product(call.owner, steps, scope[of_input]), Product(call.owner, steps, scope[of_hidden])]


def _states(
    call: Call, scope: Scope, hidden: Units, outputs: Sequence[torch.Tensor] | None = None
) -> list[Labels | None]:
    """Joins the incoming states with the hidden units, and labels the outgoing ones."""
    for tensor in call.tensors[1:]:
        scope.table.join(scope[tensor][-1], hidden, call.where)
    outputs = call.outputs[1:] if outputs is None else outputs
    return [(*scope[output][:-1], hidden) for output in outputs]


def _left_alone(call: Call, scope: Scope) -> Sequence[Labels | None]:
    module: Any = call.op
    for tensor in (*call.tensors, *module.parameters()):
        scope.fix(tensor, f"a projection or packed sequences in {call.where}")
    return [None] * len(call.outputs)
