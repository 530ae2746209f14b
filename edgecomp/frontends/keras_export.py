"""Writes a Keras model or a SavedModel as ONNX: the child's side of `keras_model`, all that TensorFlow is imported by.

tf2onnx translates TensorFlow's operators. What it cannot know is that a loop was an LSTM: Keras 3 spells recurrent
layers out as TensorList loops. So while a model is traced its recurrent layers call one operator instead,
`CudnnRNNV3`, which never runs; it carries ONNX's weights, and is translated to ONNX's LSTM, GRU or RNN.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecomp.errors import SourceError
from edgecomp.graph.query import MODULE_KEY

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

#: The last opset that tf2onnx writes.
_OPSET = 18
#: How far, of its range, an output may be from the original's.
_TOLERANCE = 1e-3

Array = npt.NDArray[Any]
Shapes = Mapping[str, Sequence[int]]


def write_onnx(source: str, target: str, shapes: Shapes) -> float:
    """Translates a model and compares the two on random numbers.

    Args:
        source: A `.keras` or `.h5` file, or the folder of a SavedModel.
        target: The `.onnx` file to write.
        shapes: Input name -> shape, for dynamic inputs.

    Returns:
        The largest difference over all outputs, as a share of the output's range.

    Raises:
        SourceError: The model cannot be loaded, has inputs of unknown size, or comes out different.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    function, specs, outputs, layers, marked = _load(source, shapes)
    generator = np.random.default_rng(0)
    examples = [_example(generator, spec) for spec in specs]
    expected = [np.asarray(value) for value in tf.nest.flatten(function(*map(tf.constant, examples)))]
    for layer in marked:
        layer.call = _marking(layer)
    traced = tf.function(lambda *inputs: tf.nest.flatten(function(*inputs)))
    model, _ = tf2onnx.convert.from_function(
        traced, input_signature=specs, opset=_OPSET, custom_op_handlers={"CudnnRNNV3": (_recurrent, [])}
    )
    _rename_outputs(model.graph, outputs)
    for node in model.graph.node:
        if layer := _layer_of(node.name, layers):
            node.metadata_props.add(key=MODULE_KEY, value=layer)
    onnx.save(model, target)
    return _difference(source, model, examples, expected)


def _load(source: str, shapes: Shapes) -> tuple[Any, list[Any], list[str], set[str], list[Any]]:
    """What to call, its inputs, the names of its outputs, the names of its layers, and the recurrent ones of those."""
    import keras
    import tensorflow as tf

    if os.path.isdir(source):
        loaded = tf.saved_model.load(source)
        if "serving_default" not in loaded.signatures:
            raise SourceError(
                source,
                expected="a SavedModel with the signature serving_default",
                actual=f"the signatures {', '.join(loaded.signatures) or '(none)'}",
                cure="export it again with model.export(folder)",
            )
        signature = loaded.signatures["serving_default"]
        specs = [_spec(name, spec, shapes, source) for name, spec in signature.structured_input_signature[1].items()]
        names = list(signature.structured_outputs)

        def call(*inputs: Any) -> list[Any]:
            given = dict(zip((spec.name for spec in specs), inputs, strict=True))
            results = signature(**given)
            return [results[name] for name in names]

        call.owner = loaded  # type: ignore[attr-defined] # the signature alone does not keep the variables alive
        return call, specs, names, set(), []
    try:
        model = keras.saving.load_model(source, compile=False, safe_mode=True)
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise SourceError(
            source,
            expected="a Keras model without code in it",
            actual=lines[0] if lines else type(error).__name__,
            cure="check the file; replace Lambda and custom layers by Keras's own, or export a SavedModel",
        ) from None
    specs = [_spec(value.name, value, shapes, source) for value in model.inputs]
    layers = list(model._flatten_layers(include_self=False))
    names = list(model.output_names) if len(set(model.output_names)) == len(model.outputs) else []

    def run(*inputs: Any) -> Any:
        return model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)

    return run, specs, names, {layer.name for layer in layers}, [layer for layer in layers if _is_plain(layer)]


def _spec(name: str, given: Any, shapes: Shapes, source: str) -> Any:
    import tensorflow as tf

    sizes = list(shapes.get(name, given.shape))
    if sizes and sizes[0] is None:
        sizes[0] = 1
    if None in sizes:
        text = "x".join("any" if size is None else str(size) for size in sizes)
        raise SourceError(
            source,
            expected="inputs of known sizes",
            actual=f"{name} is {text}",
            cure=f"give --shape {name}={text.replace('any', 'SIZE')}",
        )
    return tf.TensorSpec(sizes, given.dtype, name=name)


def _example(generator: np.random.Generator, spec: Any) -> Array:
    dtype = spec.dtype.as_numpy_dtype
    numbers = generator.random(spec.shape) if spec.dtype.is_floating else generator.integers(0, 2, spec.shape)
    return np.asarray(numbers, dtype)


def _is_plain(layer: Any) -> bool:
    """Whether a layer is a recurrent one that ONNX has an operator for, with the usual activations."""
    import keras

    if not isinstance(layer, keras.layers.LSTM | keras.layers.GRU | keras.layers.SimpleRNN):
        return False
    gates = getattr(layer, "recurrent_activation", keras.activations.sigmoid)
    usual = layer.activation is keras.activations.tanh and gates is keras.activations.sigmoid
    return bool(usual and not layer.stateful and not layer.return_state)


def _marking(layer: Any) -> Any:
    """What a recurrent layer does while it is traced."""
    import tensorflow as tf

    kind = {"LSTM": "lstm", "GRU": "gru"}.get(type(layer).__name__, "rnn_tanh")
    units = layer.units
    weights = np.concatenate([part.reshape(-1) for part in _weights(layer, kind)])
    original = layer.call

    def call(sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        if initial_state is not None or mask is not None:
            return original(sequences, initial_state=initial_state, mask=mask, training=training)
        steps = tf.transpose(sequences[:, ::-1] if layer.go_backwards else sequences, [1, 0, 2])
        zeros = tf.zeros([1, tf.shape(steps)[1], units], steps.dtype)
        marker = tf.raw_ops.CudnnRNNV3(
            input=steps,
            input_h=zeros,
            input_c=zeros,
            params=tf.constant(weights, steps.dtype),
            sequence_lengths=tf.fill([tf.shape(steps)[1]], tf.shape(steps)[0]),
            rnn_mode=kind,
            # The only free attribute: ONNX's linear_before_reset.
            seed2=int(bool(getattr(layer, "reset_after", False))),
        )
        result = tf.transpose(tf.ensure_shape(marker.output, [None, None, units]), [1, 0, 2])
        return result if layer.return_sequences else result[:, -1]

    return call


def _weights(layer: Any, kind: str) -> Iterator[Array]:
    """W (gates * units, features), R (gates * units, units) and B (2 * gates * units) as ONNX has them."""
    cell = layer.cell
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


def _recurrent(ctx: Any, node: Any, name: str, arguments: object) -> None:
    """Translates the marker: tf2onnx calls this."""
    steps, params = node.input[0], node.inputs[3].get_tensor_value(as_list=False)
    kind = node.get_attr_value("rnn_mode")
    kind = kind.decode() if isinstance(kind, bytes) else kind
    op_type, gates = {"lstm": ("LSTM", 4), "gru": ("GRU", 3)}.get(kind, ("RNN", 1))
    features = ctx.get_shape(steps)[-1]
    # params = gates * units * (features + units + 2)
    units = next(n for n in range(1, len(params) + 1) if gates * n * (features + n + 2) >= len(params))
    width = gates * units
    splits = np.split(params.astype(np.float32), [width * features, width * (features + units)])
    shapes = ((1, width, features), (1, width, units), (1, 2 * width))
    constants = [
        ctx.make_const(f"{name}/{letter}", part.reshape(shape)).output[0]
        for letter, part, shape in zip("WRB", splits, shapes, strict=True)
    ]
    attributes = {"hidden_size": units}
    if op_type == "GRU":
        attributes["linear_before_reset"] = node.get_attr_value("seed2")
    results, dtype = node.output, ctx.get_dtype(node.output[0])
    ctx.remove_node(node.name)
    made = ctx.make_node(
        op_type, [steps, *constants], attr=attributes, name=f"{name}/{op_type}", output_count=1, dtypes=[dtype]
    )
    squeeze = ctx.make_const(f"{name}/direction", np.array([1], np.int64))
    ctx.make_node("Squeeze", [made.output[0], squeeze.output[0]], name=name, outputs=[results[0]], dtypes=[dtype])


def _rename_outputs(graph: Any, names: Sequence[str]) -> None:
    """Gives the outputs the names that Keras has for them."""
    if len(names) != len(graph.output):
        names = [f"output_{index}" if len(graph.output) > 1 else "output" for index in range(len(graph.output))]
    taken = {name for node in graph.node for name in node.output}
    for value, name in zip(graph.output, names, strict=True):
        if name in taken:
            name = f"{name}/output"
        for node in graph.node:
            node.output[:] = [name if each == value.name else each for each in node.output]
            node.input[:] = [name if each == value.name else each for each in node.input]
        value.name = name


def _layer_of(name: str, layers: set[str]) -> str:
    """The innermost scope of a TensorFlow name that is a layer; TensorFlow numbers names that it meets again."""
    for scope in reversed(name.split("/")):
        for candidate in (scope, re.sub(r"_\d+$", "", scope)):
            if candidate in layers:
                return candidate
    return ""


def _difference(source: str, model: Any, examples: Sequence[Array], expected: Sequence[Array]) -> float:
    import onnx_ir as ir

    from edgecomp.frontends import runtime

    session = runtime.open_session(ir.from_proto(model))
    worst = 0.0
    for wanted, got in zip(expected, session.run(examples), strict=True):
        worst = max(worst, runtime.difference(wanted, got))
    if not worst <= _TOLERANCE:
        raise SourceError(
            source,
            expected=f"a translation that agrees with the model within {_TOLERANCE:g} of each output's range",
            actual=f"a difference of {worst:.2g}",
            cure="report this with the model",
        )
    return worst
