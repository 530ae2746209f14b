"""Which nodes MNN computes in integers and which in float, where it would choose for itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from mnn_nets import Builder, data, judge, model_of
from test_mnn import MNN, OPTIONS

from edgecomp.converters.mnn.runtime import import_mnn
from edgecomp.quantization.qdq import to_qdq
from edgecomp.quantization.scheme import PRECISION_KEY
from edgecomp.quantization.static import quantize_static
from edgecomp.system.quiet import redirected


def floats_between_integers(b: Builder) -> list[str]:
    """Operators that MNN has integer kernels for, between convolutions."""
    one, two, bound = b.conv("x", 3, 8), b.conv("x", 3, 8), b.constant(0.7)
    linear = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    floats = [
        b("AveragePool", one, kernel_shape=[2, 2], strides=[2, 2]),
        b("MaxPool", one, kernel_shape=[2, 2], strides=[2, 2]),
        b("Clip", one, b.constant(-0.3), bound),
        b("LeakyRelu", one, alpha=0.1),
        b("Resize", one, "", b.constant([1, 1, 2, 2]), **linear),
        b("Add", one, two),
        b("Max", one, two),
        b("Abs", two),
        b("Transpose", b("Softmax", two, axis=-1), perm=[0, 1, 3, 2]),
    ]
    return [b.conv(data, 8, 4) for data in floats]


def test_a_node_kept_in_float_is_computed_in_float(tmp_path: Path) -> None:
    model = model_of(floats_between_integers)
    kept = [node for node in model.graph.graph if node.op_type not in {"Conv", "Softmax", "Transpose"}]
    for node in kept:
        node.metadata_props[PRECISION_KEY] = "float32"
    images = data()
    model = quantize_static(model, [(image,) for image in images])
    conversion = MNN.convert(model, tmp_path / "net.mnn", OPTIONS)
    predictor, simulation = MNN.open(conversion.path), to_qdq(model)
    for value, got, wanted in zip(
        model.graph.graph.outputs, predictor.run([images[0]]), judge(simulation, images[0]), strict=True
    ):
        assert np.abs(got - wanted).max() / float(model.quantization[value.name or ""].scale) < 2.5, value.name
    assert {island.op_type for island in conversion.islands} == {"Softmax"}


def test_equal_weights_are_told_apart(tmp_path: Path) -> None:
    def body(b: Builder) -> list[str]:
        weights = [b.constant(np.linspace(-1, 1, 81).reshape(3, 3, 3, 3)) for _ in range(3)]
        return [b("Conv", "x", weight, pads=[size] * 4) for size, weight in enumerate(weights)]

    images = data(4)
    model = quantize_static(model_of(body), [(image,) for image in images])
    conversion = MNN.convert(model, tmp_path / "net.mnn", OPTIONS)
    assert conversion.islands == ()
    for value, got, wanted in zip(
        model.graph.graph.outputs,
        MNN.open(conversion.path).run([images[0]]),
        judge(to_qdq(model), images[0]),
        strict=True,
    ):
        assert np.abs(got - wanted).max() / float(model.quantization[value.name or ""].scale) < 1.1


def test_real_numbers_that_become_integers(tmp_path: Path) -> None:
    images = data(8)
    model = quantize_static(
        model_of(lambda b: [b.conv(b("Identity", b("Softplus", "x")), 3, 4)]), [(image,) for image in images]
    )
    softplus = next(node for node in model.graph.graph if node.op_type == "Softplus")
    # The Identity has parameters, and what it reads has none.
    table = {name: item for name, item in model.quantization.items() if name != softplus.outputs[0].name}
    model = replace(model, quantization=table)
    conversion = MNN.convert(model, tmp_path / "net.mnn", OPTIONS)
    assert conversion.islands == ()
    (got,), (wanted,) = MNN.open(conversion.path).run([images[0]]), judge(to_qdq(model), images[0])
    step = float(model.quantization[model.graph.graph.outputs[0].name or ""].scale)
    assert np.abs(got - wanted).max() / step < 1.1


def test_small_winograd_transforms_keep_the_digits_that_large_ones_lose(tmp_path: Path) -> None:
    def body(b: Builder) -> list[str]:
        deeper = b.conv("x", 64, 64)
        return [b.conv(b.conv(deeper, 64, 64), 64, 64)]

    shape = (1, 64, 56, 56)
    model = model_of(body, shape)
    path = MNN.convert(model, tmp_path / "net.mnn", OPTIONS).path
    (image,) = data(1, shape)
    (wanted,) = judge(model.graph, image)

    mnn = import_mnn()

    def tensor(array: np.ndarray) -> object:
        return mnn.Tensor(array.shape, mnn.Halide_Type_Float, array, mnn.Tensor_DimensionType_Caffe)

    def lost(hint: int | None) -> float:
        interpreter, result = mnn.Interpreter(str(path)), tensor(np.zeros_like(wanted))
        with redirected(1, 2):
            if hint is not None:
                interpreter.setSessionHint(3, hint)  # WINOGRAD_MEMORY_LEVEL
            session = interpreter.createSession({"backend": "CPU", "precision": "high", "numThread": 1})
            interpreter.getSessionInput(session).copyFrom(tensor(image))
            interpreter.runSession(session)
            interpreter.getSessionOutput(session).copyToHostTensor(result)
        given = np.array(result.getData(), np.float32).reshape(wanted.shape)
        return float(np.sqrt(np.mean((given - wanted) ** 2) / np.mean(wanted**2)))

    assert lost(hint=1) < 5e-6
    assert lost(hint=None) > 5e-6, "MNN has become more exact: docs/precisions.md says otherwise"
