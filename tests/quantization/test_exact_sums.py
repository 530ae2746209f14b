"""A simulation gives the integers that exact sums and one float32 multiplication give, all of them."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import batches, model_of, node, weights
from onnx.reference import ReferenceEvaluator

from edgecomp.model import CompressedModel
from edgecomp.quantization.exact_sums import add_up_integers
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import to_qdq
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import quantize_static

SHAPE = (1, 24, 40, 40)

CASES = {
    "conv": ([node("Conv", "x w b", "y", pads=[1, 1, 1, 1])], {"w": weights(32, 24, 3, 3), "b": weights(32)}),
    "clipped": ([node("Conv", "x w b", "c"), node("Relu", "c", "y")], {"w": weights(64, 24, 1, 1), "b": weights(64)}),
    "depthwise": ([node("Conv", "x w", "y", group=24)], {"w": weights(48, 1, 3, 3)}),
    "transposed": ([node("ConvTranspose", "x w b", "y", strides=[2, 2])], {"w": weights(24, 8, 2, 2), "b": weights(8)}),
    "matrix": ([node("MatMul", "x w", "y")], {"w": weights(40, 64)}),
    "matrices": ([node("MatMul", "x w", "y")], {"w": weights(24, 40, 64)}),
    "rows": (
        [node("Reshape", "x s", "r"), node("Gemm", "r w b", "y", transB=1)],
        {"s": np.array([960, 40]), "w": weights(96, 40), "b": weights(96)},
    ),
    "both computed": ([node("Sigmoid", "x", "g"), node("MatMul", "x g", "y")], {}),
}


def computed(nodes: list[onnx.NodeProto], outputs: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX's reference implementation makes of `feeds`, in their own dtype."""
    names = [[onnx.helper.make_empty_tensor_value_info(name) for name in each] for each in (feeds, outputs)]
    graph = onnx.helper.make_graph(nodes, "nodes", *names)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    return ReferenceEvaluator(model).run(None, feeds)


def integers(parameters: QuantizationParameters, real: np.ndarray) -> np.ndarray:
    """What is multiplied: stored integers less the zero point, as float64."""
    along = [-1 if axis == parameters.axis else 1 for axis in range(real.ndim)]
    zero_point = parameters.zero_point if parameters.axis is None else parameters.zero_point.reshape(along)
    return parameters.quantize(real).astype(np.float64) - zero_point


def in_whole_numbers(model: CompressedModel, image: np.ndarray) -> np.ndarray:
    """What integer arithmetic makes of an input: sums in float64, then one multiplication in float32."""
    table, graph = model.quantization, model.graph.graph
    *before, product = [each for each in ir.to_proto(model.graph).graph.node if each.op_type not in {"Relu", "Clip"}]
    real = {name: value.const_value.numpy() for name, value in graph.initializers.items()}
    real["x"] = table["x"].dequantize(table["x"].quantize(image))
    for each in before:
        real |= zip(
            each.output, computed([each], list(each.output), {name: real[name] for name in each.input}), strict=True
        )
    feeds = {name: integers(table[name], real[name]) for name in product.input}
    (sums,) = computed([product], list(product.output), feeds)
    output = table[graph.outputs[0].name or ""]
    left, right = (table[name].scale for name in product.input[:2])
    factor = left * right / output.scale
    if product.op_type.startswith("Conv"):
        factor = factor.reshape(-1, 1, 1)
    steps = np.rint(sums.astype(np.float32) * factor) + output.zero_point
    return output.dequantize(np.clip(steps, -128, 127).astype(np.int32))


@pytest.mark.parametrize("name", CASES)
def test_the_simulation_is_exact(name: str) -> None:
    nodes, constants = CASES[name]
    model = quantize_static(model_of(*nodes, shape=SHAPE, **constants), batches(2, SHAPE))
    ((image,),) = batches(1, SHAPE)
    image = np.stack([image[0][::-1]])
    (given,) = Simulation(model, threads=1).run([image])
    np.testing.assert_array_equal(given, in_whole_numbers(model, image))


def test_readers_get_real_numbers() -> None:
    nodes, constants = CASES["conv"]
    model = quantize_static(model_of(*nodes, shape=SHAPE, **constants), batches(2, SHAPE))
    ((image,),) = batches(1, SHAPE)
    _, read = Simulation(model, threads=1, readers=["Conv_y"]).run([image])
    parameters = model.quantization["x"]
    np.testing.assert_array_equal(read, parameters.dequantize(parameters.quantize(image)))


def test_nothing_is_computed_that_nobody_reads() -> None:
    nodes, constants = CASES["clipped"]
    graph = to_qdq(quantize_static(model_of(*nodes, shape=SHAPE, **constants), batches(2, SHAPE)))
    add_up_integers(graph.graph)
    unread = [node.name for node in graph.graph if not any(o.uses() or o.is_graph_output() for o in node.outputs)]
    assert not unread
