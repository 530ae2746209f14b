"""Keeps Keras's recurrent layers whole on their way to ONNX.

Keras 3 spells them out as TensorList loops, of which no tool could tell that they were an LSTM. So while a model is
traced its recurrent layers call one operator instead, `CudnnRNNV3`, which never runs; it carries ONNX's weights, and is
translated to ONNX's LSTM, GRU or RNN.

Steps that a mask leaves out repeat the state before them. That is the same as moving the others to the front, and
looking up for each step the result of the last one that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from edgecomp.arrays import Array

#: The operator that stands for a layer while it is traced.
MARKER = "CudnnRNNV3"


def unroll(layer: Any) -> None:
    """Has a layer that is no operator of ONNX's, such as ConvLSTM2D, spelled out step by step rather than as a loop."""
    if hasattr(layer, "unroll"):
        layer.unroll = True


def is_plain(layer: Any) -> bool:
    """Whether a layer is a recurrent one that ONNX has an operator for, with the usual activations."""
    import keras

    if not isinstance(layer, keras.layers.LSTM | keras.layers.GRU | keras.layers.SimpleRNN):
        return False
    gates = getattr(layer, "recurrent_activation", keras.activations.sigmoid)
    usual = layer.activation is keras.activations.tanh and gates is keras.activations.sigmoid
    return bool(usual and not layer.stateful)


def marking(layer: Any) -> Callable[..., Any]:
    """What a recurrent layer does while it is traced, in place of its `call`."""
    import tensorflow as tf

    original = layer.call
    weights = np.concatenate([part.reshape(-1) for part in _weights(layer)])

    def call(sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        if mask is not None and layer.return_state:
            # The memory of an LSTM after the last step that counts is nowhere to be looked up.
            return original(sequences, initial_state=initial_state, mask=mask, training=training)
        if layer.go_backwards:
            sequences = sequences[:, ::-1]
            mask = None if mask is None else mask[:, ::-1]
        if mask is not None:
            sequences = _moved_to_front(sequences, mask)
        results, states = _marker(layer, weights, sequences, initial_state)
        if mask is not None:
            results = _looked_up(results, mask)
            if layer.zero_output_for_mask:
                results *= tf.cast(mask, results.dtype)[:, :, None]
        answer = results if layer.return_sequences else results[:, -1]
        return (answer, *states) if layer.return_state else answer

    return call


def _marker(layer: Any, weights: Array, sequences: Any, initial_state: Any) -> tuple[Any, list[Any]]:
    """The operator: results (batch, steps, units), and the states (batch, units) after the last step."""
    import tensorflow as tf

    kind = _kind(layer)
    steps = tf.transpose(sequences, [1, 0, 2])
    zeros = tf.zeros([tf.shape(steps)[1], layer.units], steps.dtype)
    given = list(tf.nest.flatten(initial_state)) if initial_state is not None else []
    hidden, memory = (*given, zeros, zeros)[:2]
    marker = tf.raw_ops.CudnnRNNV3(
        input=steps,
        input_h=hidden[None],
        input_c=memory[None],
        params=tf.constant(weights, steps.dtype),
        sequence_lengths=tf.fill([tf.shape(steps)[1]], tf.shape(steps)[0]),
        rnn_mode=kind,
        # The only free attributes: ONNX's linear_before_reset, and whether the layer begins with zeros.
        seed2=int(bool(getattr(layer, "reset_after", False))),
        seed=int(bool(given)),
    )
    results = tf.transpose(tf.ensure_shape(marker.output, [None, None, layer.units]), [1, 0, 2])
    last = [marker.output_h, marker.output_c] if kind == "lstm" else [marker.output_h]
    return results, [tf.ensure_shape(state, [1, None, layer.units])[0] for state in last]


def _moved_to_front(sequences: Any, mask: Any) -> Any:
    """The steps (batch, steps, features) that the mask (batch, steps) leaves, in their order, and then the others."""
    import tensorflow as tf

    count = tf.shape(mask)[1]
    places = tf.cast(tf.range(count), tf.float32)[None] + tf.where(mask, 0.0, tf.cast(count, tf.float32))
    order = tf.math.top_k(-places, k=count).indices
    return tf.gather(sequences, order, batch_dims=1)


def _looked_up(results: Any, mask: Any) -> Any:
    """For every step (batch, steps, units) the result of the last one that counts; zeros before the first."""
    import tensorflow as tf

    with_zeros = tf.pad(results, [[0, 0], [1, 0], [0, 0]])
    return tf.gather(with_zeros, tf.cumsum(tf.cast(mask, tf.int32), axis=1), batch_dims=1)


def _kind(layer: Any) -> str:
    return {"LSTM": "lstm", "GRU": "gru"}.get(type(layer).__name__, "rnn_tanh")


def _weights(layer: Any) -> Iterator[Array]:
    """W (gates * units, features), R (gates * units, units) and B (2 * gates * units) as ONNX has them."""
    cell, kind = layer.cell, _kind(layer)
    gates = {"lstm": 4, "gru": 3}.get(kind, 1)
    # Keras: input, forget, cell, output. ONNX: input, output, forget, cell. The gates of a GRU have the same order.
    order = [0, 3, 1, 2] if kind == "lstm" else list(range(gates))

    def arranged(matrix: Array) -> Array:
        parts = np.split(matrix, gates, axis=-1)
        return np.concatenate([parts[index] for index in order], axis=-1)

    yield arranged(np.asarray(cell.kernel)).T
    yield arranged(np.asarray(cell.recurrent_kernel)).T
    width = gates * layer.units
    bias = np.zeros(width, np.float32) if cell.bias is None else np.asarray(cell.bias)
    both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    yield arranged(both)


def translate(ctx: Any, node: Any, name: str, arguments: object) -> None:
    """Makes ONNX's operator of the marker: tf2onnx calls this."""
    steps, hidden, memory = node.input[:3]
    params = node.inputs[3].get_tensor_value(as_list=False)
    kind = node.get_attr_value("rnn_mode")
    kind = kind.decode() if isinstance(kind, bytes) else kind
    op_type, gates = {"lstm": ("LSTM", 4), "gru": ("GRU", 3)}.get(kind, ("RNN", 1))
    features = ctx.get_shape(steps)[-1]
    # params = gates * units * (features + units + 2)
    units = next(n for n in range(1, len(params) + 1) if gates * n * (features + n + 2) >= len(params))
    width = gates * units
    splits = np.split(params.astype(np.float32), [width * features, width * (features + units)])
    shapes = ((1, width, features), (1, width, units), (1, 2 * width))
    inputs = [steps] + [
        ctx.make_const(f"{name}/{letter}", part.reshape(shape)).output[0]
        for letter, part, shape in zip("WRB", splits, shapes, strict=True)
    ]
    if node.get_attr_value("seed"):
        inputs += ["", hidden, memory][: 3 if op_type == "LSTM" else 2]
    attributes = {"hidden_size": units}
    if op_type == "GRU":
        attributes["linear_before_reset"] = node.get_attr_value("seed2")
    results, *states = node.output[: 3 if op_type == "LSTM" else 2]
    dtype = ctx.get_dtype(results)
    outputs = [f"{name}/{op_type}/sequence", *states]
    ctx.remove_node(node.name)
    made = ctx.make_node(
        op_type, inputs, attr=attributes, name=f"{name}/{op_type}", outputs=outputs, dtypes=[dtype] * len(outputs)
    )
    squeeze = ctx.make_const(f"{name}/direction", np.array([1], np.int64))
    ctx.make_node("Squeeze", [made.output[0], squeeze.output[0]], name=name, outputs=[results], dtypes=[dtype])
