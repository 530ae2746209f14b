"""Writes a Keras model or a SavedModel as ONNX: the child's side of `keras_model`, all that TensorFlow is imported by.

tf2onnx translates TensorFlow's operators. What it cannot know is that a loop was an LSTM: that is `keras_recurrent`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgecomp.arrays import Array
from edgecomp.errors import SourceError
from edgecomp.frontends.keras_recurrent import MARKER, is_plain, marking, translate, unroll
from edgecomp.graph.query import MODULE_KEY

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

#: The last opset that tf2onnx writes.
_OPSET = 18
#: How far, of its range, an output may be from the original's.
_TOLERANCE = 1e-3

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

    function, specs, outputs, layers = _load(source, shapes)
    generator = np.random.default_rng(0)
    examples = [_example(generator, spec) for spec in specs]
    expected = [np.asarray(value) for value in tf.nest.flatten(function(*map(tf.constant, examples)))]
    for layer in layers:
        unroll(layer)
        if is_plain(layer):
            layer.call = marking(layer)
    traced = tf.function(lambda *inputs: tf.nest.flatten(function(*inputs)))
    model, _ = tf2onnx.convert.from_function(
        traced, input_signature=specs, opset=_OPSET, custom_op_handlers={MARKER: (translate, [])}
    )
    _bind_captured(model.graph, traced.get_concrete_function(*specs))
    _rename_outputs(model.graph, outputs)
    for node in model.graph.node:
        if owner := _layer_of(node.name, {layer.name for layer in layers}):
            node.metadata_props.add(key=MODULE_KEY, value=owner)
    onnx.save(model, target)
    return _difference(source, model, examples, expected)


def _load(source: str, shapes: Shapes) -> tuple[Any, list[Any], list[str], list[Any]]:
    """What to call, its inputs, the names of its outputs, and its layers; a SavedModel has none."""
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
        return call, specs, names, []
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

    return run, specs, names, layers


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


def _bind_captured(graph: Any, function: Any) -> None:
    """Makes constants of the tensors that a function captured, a Normalization layer's: tf2onnx leaves them inputs."""
    from onnx import numpy_helper
    from tensorflow import resource

    given = function.captured_inputs
    names = [inner.name for inner in function.inputs[len(function.inputs) - len(given) :]]
    captured = {name: outer for name, outer in zip(names, given, strict=True) if outer.dtype != resource}
    for value in [value for value in graph.input if value.name in captured]:
        graph.initializer.append(numpy_helper.from_array(captured[value.name].numpy(), value.name))
        graph.input.remove(value)


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
