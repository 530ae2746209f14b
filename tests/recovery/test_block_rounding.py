"""AdaRound by blocks: less error where layers can make up for each other, nothing where there is nothing to choose."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model_of, node, weights
from measures import sqnr

from edgecomp.errors import InputError
from edgecomp.model import CompressedModel
from edgecomp.quantization.static import StaticQuantization, quantize_static
from edgecomp.recovery.block_rounding import BlockRounding, round_blocks
from edgecomp.recovery.blocks import blocks

SHAPE = (1, 8, 6, 6)
SETTINGS = BlockRounding(iterations=60, learning_rate=0.05)

#: Weights of which one in each row is large, so that the others have few steps.
COARSE = weights(8, 8, 1, 1) * 0.05
COARSE[:, 0] = 2.0


def mixtures(count: int = 16) -> list[tuple[np.ndarray]]:
    """Inputs whose channels are mixtures of three numbers, and a little noise."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(8, 3))
    draw = (np.einsum("cm,bmhw->bchw", mixing, rng.normal(size=(1, 3, 6, 6))) for _ in range(count))
    return [((each + rng.normal(0, 0.05, SHAPE)).astype(np.float32),) for each in draw]


def residual() -> CompressedModel:
    """A layer, then two in a row with a way around them, then a layer."""
    return model_of(
        node("Conv", "x w b", "a"), node("Relu", "a", "r"),
        node("Conv", "r w", "p"), node("Relu", "p", "q"), node("Conv", "q v b", "s"), node("Add", "s r", "t"),
        node("Conv", "t u b", "y"),
        shape=SHAPE, w=COARSE, v=COARSE[::-1].copy(), u=COARSE.copy(), b=weights(8),
    )  # fmt: skip


def quantized(model: CompressedModel) -> CompressedModel:
    return quantize_static(model, mixtures(), StaticQuantization(estimator="minmax"), threads=1)


def integers(model: CompressedModel, graph: ir.Model) -> dict[str, np.ndarray]:
    table, constants = model.quantization, graph.graph.initializers
    return {
        name: table[name].quantize(value.const_value.numpy())
        for name, value in constants.items()
        if name in table and table[name].dtype == "int8"
    }


def test_blocks_are_cut_where_one_tensor_passes() -> None:
    found = list(blocks(residual().graph.graph))
    assert [(block.inputs, block.outputs) for block in found] == [
        (("x",), ("a",)),
        (("a",), ("t",)),
        (("t",), ("y",)),
    ]
    assert sum(len(block.nodes) for block in found) == 7
    (whole,) = blocks(residual().graph.graph, least=4)
    assert (whole.inputs, whole.outputs) == (("x",), ("y",))


def test_less_error_is_left_where_layers_vary_together() -> None:
    model = residual()
    before = quantized(model)
    graph, facts = round_blocks(before, mixtures(), SETTINGS)
    after = before.after(before.provenance[-1], graph=graph)
    assert facts["learned"] >= 1
    assert facts["error_left"] < 0.95
    assert sqnr(model, after, mixtures()) > sqnr(model, before, mixtures()) + 0.5
    changed = integers(before, graph)
    for name, nearest in integers(before, before.graph).items():
        assert np.abs(changed[name].astype(int) - nearest).max() <= 1


def test_weights_that_are_integers_stay() -> None:
    before = quantized(residual())
    exact = before.graph.clone()
    for name in integers(before, exact):
        parameters, value = before.quantization[name], exact.graph.initializers[name]
        value.const_value = ir.tensor(parameters.dequantize(parameters.quantize(value.const_value.numpy())), name=name)
    model = before.after(before.provenance[-1], graph=exact)
    graph, _ = round_blocks(model, mixtures(8), BlockRounding(iterations=30))
    changed = integers(model, graph)
    for name, nearest in integers(model, exact).items():
        np.testing.assert_array_equal(changed[name], nearest)


@pytest.mark.parametrize(("settings", "words"), [({"iterations": 0}, "iterations"), ({"warmup": 1.0}, "warmup")])
def test_settings_that_cannot_be_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=f"adaround-blocks: {words}"):
        BlockRounding(**settings)  # type: ignore[arg-type]
