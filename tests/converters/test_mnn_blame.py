"""Which node is blamed when MNN computes other numbers than ONNX Runtime."""

from __future__ import annotations

import numpy as np
from mnn_nets import Builder, data, model_of, squeeze_and_excite

from edgecomp.converters.mnn.blame import wrong_node
from edgecomp.quantization.static import quantize_static


def test_no_single_node_is_blamed_for_what_a_network_makes_of_rounding() -> None:
    model = quantize_static(model_of(squeeze_and_excite), [(image,) for image in data(4)])
    assert wrong_node(model) is None


def test_a_recurrent_layer_that_magnifies_its_last_digits_is_not_wrong() -> None:
    random = np.random.default_rng(0)

    def body(b: Builder) -> list[str]:
        weights = [b.constant(2 * random.standard_normal(size)) for size in ((1, 128, 96), (1, 128, 32))]
        rows = b("Reshape", "x", b.integers(-1, 1, 96))
        return [b("LSTM", b("Tile", rows, b.integers(60, 1, 1)), *weights, hidden_size=32)]

    assert wrong_node(model_of(body)) is None
