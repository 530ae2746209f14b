"""Decomposes LSTM, GRU and RNN of one direction into loops over their cells.

The part of every gate that depends on the input is one matrix product over all steps, computed before the loop; each
step adds the part that depends on the state. Equations and gate order follow the ONNX specification of each operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir

from edgecomp.graph.decompositions.directions import PARAMETERS, is_batch_first, one_direction_each
from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable
from edgecomp.graph.decompositions.rows import State, blocks_of, walk
from edgecomp.graph.query import SIZED_KEY, any_size, constant

Activation = Callable[[Pieces, ir.Value], ir.Value]


@dataclass(frozen=True)
class _Direction:
    """The weights of one direction.

    Attributes:
        weight: The input weight, transposed: (input, gates * hidden).
        recurrences: The recurrent weights, transposed: (hidden, gates * hidden) for each product of a step.
        input_bias: (gates * hidden,), or None.
        state_biases: A bias or None for each product.
        peepholes: (hidden,) for each gate that reads the cell state, or empty.
        activations: In the order of the specification.
    """

    weight: ir.Value
    recurrences: tuple[ir.Value, ...]
    input_bias: ir.Value | None
    state_biases: tuple[ir.Value | None, ...]
    peepholes: tuple[ir.Value, ...]
    activations: tuple[Activation, ...]


#: Builds a step: from the pieces, the direction, the gates' input part and the state, it returns the new state.
Cell = Callable[[Pieces, _Direction, ir.Value, State], State]


def recurrent(
    pieces: Pieces, cell: Cell, products: Sequence[int], defaults: Sequence[str], states: int
) -> list[ir.Value | None]:
    """Decomposes any of the three operators.

    Args:
        pieces: Collects the new nodes.
        cell: Builds one step.
        products: The number of gates that each product with the state computes.
        defaults: The names of the activations of one direction.
        states: The number of state tensors: 2 for LSTM.

    Returns:
        Y, Y_h and, for LSTM, Y_c; None for those that are not used.
    """
    if (plain := one_direction_each(pieces, len(defaults), states)) is not None:
        return plain
    batch_first = is_batch_first(pieces)
    source = pieces.input(0)
    if batch_first:
        source = pieces.transpose(source, [1, 0, 2])
    steps, batch, _ = pieces.shape(source)
    hidden = pieces.shape(2)[2]
    initial = [_initial(pieces, 5 + place, batch, hidden, batch_first) for place in range(states)]
    masks = _masks(pieces, steps, batch)
    sequence, final = _run(pieces, cell, _direction(pieces, products, defaults), source, initial, masks)
    results: list[ir.Value | None] = [None] * (1 + states)
    if pieces.is_used(0):
        axis = 2 if batch_first else 1
        stacked = pieces.transpose(sequence, [1, 0, 2]) if batch_first else sequence
        results[0] = pieces("Unsqueeze", stacked, np.array([axis], np.int64))
    for place in range(states):
        if pieces.is_used(1 + place):
            axis = 1 if batch_first else 0
            results[1 + place] = pieces("Unsqueeze", final[place], np.array([axis], np.int64))
    return results


# --- the loop ---------------------------------------------------------------------------------------------------------


def _direction(pieces: Pieces, products: Sequence[int], defaults: Sequence[str]) -> _Direction:
    hidden = pieces.shape(2)[2]
    width = sum(products) * hidden
    ends = np.cumsum(products) * hidden
    parts = [(int(end) - gates * hidden, int(end)) for gates, end in zip(products, ends, strict=True)]
    input_bias: ir.Value | None = None
    state_biases: list[ir.Value | None] = [None for _ in products]
    if pieces.optional(3) is not None:
        bias = _part(pieces, 3)
        input_bias = _cut(pieces, bias, 0, width)
        state_biases = [_cut(pieces, bias, width + start, width + end) for start, end in parts]
    peepholes: tuple[ir.Value, ...] = ()
    if pieces.node.op_type == "LSTM" and pieces.optional(7) is not None:
        whole = _part(pieces, 7)
        peepholes = tuple(_cut(pieces, whole, k * hidden, (k + 1) * hidden) for k in range(3))
    recurrence = _part(pieces, 2)
    recurrences = (_flipped(pieces, _cut(pieces, recurrence, start, end)) for start, end in parts)
    return _Direction(
        weight=_flipped(pieces, _part(pieces, 1)),
        recurrences=tuple(recurrences),
        input_bias=input_bias,
        state_biases=tuple(state_biases),
        peepholes=peepholes,
        activations=_activations(pieces, defaults),
    )


def _part(pieces: Pieces, place: int) -> ir.Value:
    """Returns an input without the direction axis, which has size 1."""
    value = pieces.input(place)
    return pieces.moved(value, lambda array: array[0]) or pieces("Squeeze", value, np.array([0], np.int64))


def _cut(pieces: Pieces, value: ir.Value, start: int, end: int) -> ir.Value:
    return pieces.moved(value, lambda array: array[start:end]) or pieces.slice(value, 0, start, end)


def _flipped(pieces: Pieces, value: ir.Value) -> ir.Value:
    return pieces.moved(value, np.transpose) or pieces.transpose(value, [1, 0])


def _any_steps(pieces: Pieces) -> bool:
    """Tells whether the number of steps is dynamic."""
    return pieces.node.attributes.get_int("layout", 0) in any_size(pieces.node)


def _any_batch(pieces: Pieces) -> bool:
    """Tells whether the batch size is dynamic."""
    return 1 - (pieces.node.attributes.get_int("layout", 0) or 0) in any_size(pieces.node)


def _initial(pieces: Pieces, place: int, batch: int, hidden: int, batch_first: bool) -> ir.Value:
    """Returns the state before the first step."""
    value = pieces.optional(place)
    if value is None and _any_batch(pieces):
        made = pieces("Expand", np.zeros((1, hidden), np.float32), np.array([batch, hidden], np.int64))
        pieces.nodes[-1].metadata_props[SIZED_KEY] = ""  # otherwise it would be folded
        return made
    if value is None:
        zeros = pieces.value(np.zeros((batch, hidden), np.float32))
        assert zeros is not None
        return zeros
    return pieces("Squeeze", value, np.array([1 if batch_first else 0], np.int64))


def _masks(pieces: Pieces, steps: int, batch: int) -> ir.Value | None:
    """Returns where sequences have not ended, (steps, batch, 1) bool; None if all have full length."""
    lengths = pieces.optional(4)
    if lengths is None:
        return None
    array, places = constant(lengths), np.arange(steps, dtype=np.int32)[:, None, None]
    if array is not None:
        return pieces.value(places < array.reshape(1, batch, 1))
    wide = pieces.reshape(pieces.cast(lengths, ir.DataType.INT32), (1, batch, 1))
    if not _any_steps(pieces):
        return pieces("Less", places, wide)
    counted = pieces("Range", *(np.array(number, np.int32) for number in (0, steps, 1)))
    pieces.nodes[-1].metadata_props[SIZED_KEY] = ""  # otherwise it would be folded
    return pieces("Less", pieces.reshape(counted, (-1, 1, 1)), wide)


def _run(
    pieces: Pieces,
    cell: Cell,
    direction: _Direction,
    source: ir.Value,
    initial: State,
    masks: ir.Value | None,
) -> tuple[ir.Value, State]:
    """Runs over the sequence.

    Returns:
        The first state tensor after every step, (steps, batch, hidden), and the final state.
    """
    projected = pieces("MatMul", source, direction.weight)
    if direction.input_bias is not None:
        projected = pieces("Add", projected, direction.input_bias)
    given = [projected] if masks is None else [projected, masks]

    def step(inner: Pieces, rows: Sequence[ir.Value], carried: State) -> tuple[State, ir.Value]:
        following = cell(inner, direction, rows[0], carried)
        if masks is None:
            return following, following[0]
        kept = [inner("Where", rows[1], new, old) for new, old in zip(following, carried, strict=True)]
        return kept, inner("Where", rows[1], following[0], 0.0)

    (steps, *row), item = pieces.shape(projected), np.dtype(np.float32).itemsize
    sizes = (item * math.prod(shape) for shape in (row, (row[-1], pieces.shape(2)[2])))
    blocks = (1,) if _any_steps(pieces) else blocks_of(steps, *sizes)
    final, sequence = walk(pieces, given, initial, step, blocks)
    return sequence, final


# --- cells ------------------------------------------------------------------------------------------------------------


def _product(pieces: Pieces, direction: _Direction, state: ir.Value, part: int = 0) -> ir.Value:
    """Computes the state's part of the gates for one product."""
    result, bias = pieces("MatMul", state, direction.recurrences[part]), direction.state_biases[part]
    return result if bias is None else pieces("Add", result, bias)


def _gates(pieces: Pieces, direction: _Direction, given: ir.Value, state: ir.Value) -> ir.Value:
    """Adds the input's and the state's part of the gates."""
    return pieces("Add", given, _product(pieces, direction, state))


def _split(pieces: Pieces, value: ir.Value, count: int) -> tuple[ir.Value, ...]:
    if count == 1:
        return (value,)
    size = pieces.shape(value)[-1] // count
    return pieces.many("Split", value, np.full(count, size, np.int64), outputs=count, axis=-1)


def rnn_cell(pieces: Pieces, direction: _Direction, given: ir.Value, state: State) -> State:
    """H' = f(X W + H R + b)."""
    return [direction.activations[0](pieces, _gates(pieces, direction, given, state[0]))]


def gru_cell(pieces: Pieces, direction: _Direction, given: ir.Value, state: State) -> State:
    """Cho et al., 2014; with linear_before_reset, the reset gate acts after the product with R, as in torch."""
    (hidden,), (f, g) = state, direction.activations
    size = pieces.shape(hidden)[-1]
    gates, candidate = (pieces.slice(given, -1, *bounds) for bounds in ((0, 2 * size), (2 * size, 3 * size)))
    update, reset = _split(pieces, f(pieces, pieces("Add", gates, _product(pieces, direction, hidden))), 2)
    if pieces.integer("linear_before_reset", 0):
        inner = pieces("Mul", reset, _product(pieces, direction, hidden, 1))
    else:
        inner = _product(pieces, direction, pieces("Mul", reset, hidden), 1)
    new = g(pieces, pieces("Add", candidate, inner))
    # (1 - z) n + z h
    return [pieces("Add", new, pieces("Mul", update, pieces("Sub", hidden, new)))]


def lstm_cell(pieces: Pieces, direction: _Direction, given: ir.Value, state: State) -> State:
    """Hochreiter and Schmidhuber, 1997, with the peepholes of Gers et al., 2002."""
    (hidden, cell), (f, g, h) = state, direction.activations
    size = pieces.shape(hidden)[-1]
    gates = _gates(pieces, direction, given, hidden)
    coupled = bool(pieces.integer("input_forget", 0))
    if not direction.peepholes:
        # The three gates share an activation and lie side by side, so one node computes it for all of them.
        opening = f(pieces, pieces.slice(gates, -1, 0, 3 * size))
        enter, leave, keep = _split(pieces, opening, 3)
        candidate = pieces.slice(gates, -1, 3 * size, 4 * size)
    else:
        enter, leave, keep, candidate = _split(pieces, gates, 4)
        enter, keep = (
            f(pieces, pieces("Add", gate, pieces("Mul", cell, peephole)))
            for gate, peephole in ((enter, direction.peepholes[0]), (keep, direction.peepholes[2]))
        )
    if coupled:
        keep = pieces("Sub", 1.0, enter)
    new = pieces("Add", pieces("Mul", keep, cell), pieces("Mul", enter, g(pieces, candidate)))
    if direction.peepholes:
        leave = f(pieces, pieces("Add", leave, pieces("Mul", new, direction.peepholes[1])))
    return [pieces("Mul", leave, h(pieces, new)), new]


# --- activations ------------------------------------------------------------------------------------------------------


def _affine(pieces: Pieces, value: ir.Value, alpha: float, beta: float) -> ir.Value:
    return pieces("Add", pieces("Mul", value, alpha), beta)


def _scaled_tanh(pieces: Pieces, value: ir.Value, alpha: float, beta: float) -> ir.Value:
    return pieces("Mul", pieces("Tanh", pieces("Mul", value, beta)), alpha)


def _named(pieces: Pieces, value: ir.Value, alpha: float, beta: float, op_type: str, attributes: str = "") -> ir.Value:
    given = {"alpha": alpha, "beta": beta}
    return pieces(op_type, value, **{name: given[name] for name in attributes.split()})


_Function = Callable[[Pieces, ir.Value, float, float], ir.Value]

#: Function, and the defaults of alpha and beta from the specification of the operator.
_ACTIVATIONS: dict[str, tuple[_Function, float, float]] = {
    "Affine": (_affine, 1.0, 0.0),
    "Elu": (partial(_named, op_type="Elu", attributes="alpha"), 1.0, 0.0),
    "HardSigmoid": (partial(_named, op_type="HardSigmoid", attributes="alpha beta"), 0.2, 0.5),
    "LeakyRelu": (partial(_named, op_type="LeakyRelu", attributes="alpha"), 0.01, 0.0),
    "Relu": (partial(_named, op_type="Relu"), 0.0, 0.0),
    "ScaledTanh": (_scaled_tanh, 1.0, 1.0),
    "Sigmoid": (partial(_named, op_type="Sigmoid"), 0.0, 0.0),
    "Softplus": (partial(_named, op_type="Softplus"), 0.0, 0.0),
    "Softsign": (partial(_named, op_type="Softsign"), 0.0, 0.0),
    "Tanh": (partial(_named, op_type="Tanh"), 0.0, 0.0),
    "ThresholdedRelu": (partial(_named, op_type="ThresholdedRelu", attributes="alpha"), 1.0, 0.0),
}
_BY_LOWER_CASE = {name.lower(): entry for name, entry in _ACTIVATIONS.items()}


#: The position of the activation that an LSTM applies to its cell state.
_CELL = 2


def _activations(pieces: Pieces, defaults: Sequence[str]) -> tuple[Activation, ...]:
    """Returns the activations; alpha and beta are listed only for those that have them.

    `clip` bounds their inputs, except that of an LSTM's third one, which acts on the cell state: ONNX Runtime reads the
    ambiguous specification in this way.
    """
    attributes, bound = pieces.node.attributes, pieces.number("clip", 0.0)
    given = attributes.get("activations")
    names = [name.lower() for name in (given.as_strings() if given is not None else defaults)]
    listed = {name: list(attributes.get_floats(name, []) or []) for name in PARAMETERS}
    functions: list[Activation] = []
    for place, name in enumerate(names):
        if name not in _BY_LOWER_CASE:
            raise Undecomposable(f"its activation {name!r} is not known")
        function, *parameters = _BY_LOWER_CASE[name]
        alpha, beta = (
            listed[parameter].pop(0) if listed[parameter] and name in having else default
            for (parameter, having), default in zip(PARAMETERS.items(), parameters, strict=True)
        )
        functions.append(_activation(function, alpha, beta, bound if place < _CELL else 0.0))
    return tuple(functions)


def _activation(function: _Function, alpha: float, beta: float, bound: float) -> Activation:
    """Binds alpha and beta, and clips the input if there is a bound."""

    def apply(inner: Pieces, value: ir.Value) -> ir.Value:
        return function(inner, inner("Clip", value, -bound, bound) if bound else value, alpha, beta)

    return apply


DECOMPOSITIONS: dict[str, Decomposition] = {
    "GRU": partial(recurrent, cell=gru_cell, products=(2, 1), defaults=("Sigmoid", "Tanh"), states=1),
    "LSTM": partial(recurrent, cell=lstm_cell, products=(4,), defaults=("Sigmoid", "Tanh", "Tanh"), states=2),
    "RNN": partial(recurrent, cell=rnn_cell, products=(1,), defaults=("Tanh",), states=1),
}
