"""Products of integer weights with activations that are rounded at run time: ONNX Runtime's `quantize_dynamic`.

DynamicQuantizeLinear, MatMulInteger or ConvInteger, Cast and Mul together say: a product, whose weight is stored in
int8. That is what dynamic-int8 means, and runtimes have kernels of their own for it, which arithmetic would not reach.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgecomp.graph.query import constant, input_of, only_consumer, required_constant
from edgecomp.graph.values import add_constant, take_place
from edgecomp.quantization import scheme
from edgecomp.quantization.parameters import QuantizationParameters

#: Operator on integers -> operator on real numbers, and the weight's dimension that scales may go along.
_PRODUCTS = {"ConvInteger": ("Conv", 0), "MatMulInteger": ("MatMul", 1)}
#: The first opset whose DequantizeLinear has scales along a dimension.
_OPSET = 13


def read_hybrid(graph: ir.Graph) -> int:
    """Writes such products as ones of real numbers with a DequantizeLinear behind their weight, in place.

    Returns:
        How many there were.
    """
    if graph.opset_imports.get("", 1) < _OPSET:
        return 0
    nodes, found = tuple(graph), 0
    for node in nodes:
        # Each is looked for when those in front of it are written: what one reads may be what another has made.
        product = _Product.find(node) if node.op_type in _PRODUCTS else None
        if product is not None:
            product.rewrite(graph)
            found += 1
    for node in tuple(graph):
        _lift_over_gather(graph, node)
    return found + sum(_real_lstm(graph, node) for node in nodes if node.op_type == "DynamicQuantizeLSTM")


def weights_alone(
    table: dict[ir.Value, QuantizationParameters],
) -> dict[ir.Value, QuantizationParameters] | None:
    """A table of quantization without what is neither a weight nor a table of rows; None when it has activations.

    One scale for a whole weight becomes the same for every channel: kernels that round activations at run time want it.
    """
    if any(constant(value) is None for value in table):
        return None
    return {value: _for_its_readers(value, entry) for value, entry in table.items() if _may_stay(value)}


def _may_stay(value: ir.Value) -> bool:
    readers = [use.node for use in value.uses()]
    return bool(readers) and (
        all(scheme.is_weight_of(node, value) for node in readers) or all(node.op_type == "Gather" for node in readers)
    )


def _for_its_readers(value: ir.Value, entry: QuantizationParameters) -> QuantizationParameters:
    reader = next(iter(value.uses())).node
    axis = None if reader.op_type == "Gather" else scheme.weight_axis(reader)
    return _spread(entry, axis, required_constant(value).shape)


def _spread(entry: QuantizationParameters, axis: int | None, shape: tuple[int, ...]) -> QuantizationParameters:
    if axis is None or entry.per_channel:
        return entry
    channels = (shape[axis],)
    return replace(
        entry,
        scale=np.broadcast_to(entry.scale, channels).copy(),
        zero_point=np.broadcast_to(entry.zero_point, channels).copy(),
        axis=axis,
    )


@dataclass(frozen=True)
class _Product:
    """The parts of one.

    Attributes:
        node: On integers.
        x: The activation, in real numbers.
        scale: Of the weight; a number, or one for each output channel.
        bias: In real numbers, one for each output channel, if there is one.
        steps: The nodes from the operator's sums to the real numbers; the last multiplies with both scales.
    """

    node: ir.Node
    x: ir.Value
    scale: np.ndarray
    bias: ir.Value | None
    steps: tuple[ir.Node, ...]

    @classmethod
    def find(cls, node: ir.Node) -> _Product | None:
        """What belongs to an operator on integers, when everything about it is as usual."""
        rounding = node.inputs[0].producer() if node.inputs[0] is not None else None
        weight = constant(node.inputs[1])
        zero = input_of(node, 3)
        if rounding is None or rounding.op_type != "DynamicQuantizeLinear" or weight is None:
            return None
        if input_of(node, 2) is not rounding.outputs[2] or (zero is not None and constant(zero) is None):
            return None
        steps, bias = [node], None
        add = only_consumer(node.outputs[0])
        if add is not None and add.op_type == "Add":
            bias = _real_bias(next((value for value in add.inputs if value is not node.outputs[0]), None), rounding)
            if bias is None:
                return None
            steps.append(add)
        cast = only_consumer(steps[-1].outputs[0])
        result = only_consumer(cast.outputs[0]) if cast is not None and cast.op_type == "Cast" else None
        if cast is None or result is None or result.op_type != "Mul":
            return None
        step = next(value for value in result.inputs if value is not cast.outputs[0])
        maker = step.producer() if step is not None else None
        if maker is None or maker.op_type != "Mul" or rounding.outputs[1] not in maker.inputs:
            return None
        scale = constant(next(value for value in maker.inputs if value is not rounding.outputs[1]))
        x = rounding.inputs[0]
        along = weight.shape[_PRODUCTS[node.op_type][1]] if weight.ndim > 1 else 1
        whole = weight.ndim == 2 or node.op_type == "ConvInteger"
        if x is None or scale is None or not (scale.size == 1 or (whole and scale.size == along)):
            return None
        scale = scale.reshape(()) if scale.size == 1 else scale.reshape(-1)
        return cls(node, x, scale, bias, (*steps, cast, result))

    def rewrite(self, graph: ir.Graph) -> None:
        """Puts the product on real numbers in its place."""
        op_type, axis = _PRODUCTS[self.node.op_type]
        name = self.node.name or self.node.outputs[0].name
        weight = self.node.inputs[1]
        assert weight is not None
        zero = constant(input_of(self.node, 3))
        inputs = [weight, add_constant(graph, f"{name}/weight_scale", self.scale.astype(np.float32))]
        if zero is not None:
            spread = np.broadcast_to(zero.reshape(-1) if self.scale.ndim else zero.reshape(()), self.scale.shape)
            inputs.append(add_constant(graph, f"{name}/weight_zero_point", np.ascontiguousarray(spread)))
        real = ir.node("DequantizeLinear", inputs, {"axis": axis}, name=f"{name}/weight")
        operands = [self.x, real.outputs[0], *([] if self.bias is None else [self.bias])]
        product = ir.node(op_type, operands, dict(self.node.attributes), name=name)
        product.metadata_props.update(self.node.metadata_props)
        real.outputs[0].name = f"{name}/weight_real"
        real.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        result = self.steps[-1]
        old, new = result.outputs[0], product.outputs[0]
        new.type, new.shape = ir.TensorType(ir.DataType.FLOAT), old.shape
        graph.insert_before(result, [real, product])
        take_place(new, old)
        for node in reversed(self.steps):
            graph.remove(node, safe=True)


def _real_bias(value: ir.Value | None, rounding: ir.Node) -> ir.Value | None:
    """The real numbers of a bias that is rounded at run time, to be added to a convolution's sums.

    Files of ONNX Runtime before 1.6 do that: Reshape(Cast(Floor(bias / (scale of the activation * of the weight)))).
    """
    for op_type in ("Reshape", "Cast", "Floor", "Div"):
        maker = value.producer() if value is not None else None
        if maker is None or maker.op_type != op_type:
            return None
        value, other = maker.inputs[0], input_of(maker, 1)
    step = other.producer() if other is not None else None
    known = constant(value)
    is_step = step is not None and step.op_type == "Mul" and rounding.outputs[1] in step.inputs
    return value if is_step and known is not None and known.ndim == 1 else None


def _lift_over_gather(graph: ir.Graph, node: ir.Node) -> None:
    """A DequantizeLinear of rows of a table becomes one of the table, whose integers are constants."""
    rows = node.inputs[0] if node.op_type == "DequantizeLinear" else None
    gather = rows.producer() if rows is not None else None
    scale = constant(input_of(node, 1))
    if gather is None or gather.op_type != "Gather" or only_consumer(gather.outputs[0]) is not node:
        return
    if constant(gather.inputs[0]) is None or scale is None or scale.size != 1:
        return
    real = ir.node("DequantizeLinear", [gather.inputs[0], *node.inputs[1:]], name=f"{node.name}/table")
    real.outputs[0].name = f"{node.name}/table_real"
    real.outputs[0].type = gather.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph.insert_before(gather, real)
    gather.replace_input_with(0, real.outputs[0])
    old, new = node.outputs[0], gather.outputs[0]
    take_place(new, old)
    graph.remove(node, safe=True)


def _real_lstm(graph: ir.Graph, node: ir.Node) -> bool:
    """A DynamicQuantizeLSTM becomes an LSTM with a DequantizeLinear behind its weights; says whether it could."""
    weights = [_lstm_weight(graph, node, index, scale) for index, scale in ((1, 8), (2, 10))]
    if any(weight is None for weight in weights):
        return False
    inputs = [node.inputs[0], *weights, *(input_of(node, index) for index in range(3, 8))]
    name = node.name or node.outputs[0].name
    lstm = ir.Node("", "LSTM", inputs, node.attributes.values(), num_outputs=len(node.outputs), name=name)
    lstm.metadata_props.update(node.metadata_props)
    graph.insert_before(node, lstm)
    for old, new in zip(node.outputs, lstm.outputs, strict=True):
        new.type, new.shape = old.type, old.shape
        take_place(new, old)
    graph.remove(node, safe=True)
    return True


def _lstm_weight(graph: ir.Graph, node: ir.Node, index: int, scale_index: int) -> ir.Value | None:
    """The real numbers of a weight in an LSTM's order, which is (directions, 4 * hidden, inputs); it lies transposed.

    A scale is one for each direction, or for each column. Where it is for each column of two directions, no
    DequantizeLinear says so, and the integers are lost.
    """
    integers, scale, zero = (constant(input_of(node, place)) for place in (index, scale_index, scale_index + 1))
    if integers is None or scale is None or zero is None:
        return None
    name, directions = f"{node.name or node.outputs[0].name}/{'WR'[index - 1]}", len(integers)
    rows = np.ascontiguousarray(integers.transpose(0, 2, 1))
    if directions > 1 and scale.size > directions:
        scale, zero = (np.asarray(array, np.float32).reshape(directions, -1, 1) for array in (scale, zero))
        return add_constant(graph, name, ((rows - zero) * scale).astype(np.float32))
    given = [
        add_constant(graph, f"{name}/{part}", array.reshape(-1) if array.size > 1 else array.reshape(()))
        for part, array in (("scale", scale), ("zero_point", zero))
    ]
    stored = add_constant(graph, f"{name}/integers", rows)
    real = ir.node("DequantizeLinear", [stored, *given], {"axis": 0 if directions > 1 else 1}, name=name)
    real.outputs[0].name, real.outputs[0].type = f"{name}/real", ir.TensorType(ir.DataType.FLOAT)
    graph.insert_before(node, real)
    return real.outputs[0]
