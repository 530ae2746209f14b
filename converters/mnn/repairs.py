"""Rules for operators that MNN imports without complaint but computes wrongly, in float too.

Each was found by comparing MNN 3.6.1 with ONNX Runtime; `operators` lists what has no repair.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.converters.mnn.rewriting import Rewriting, sizes_of
from edgecomp.graph.query import constant, input_of, is_float, normalized_axes


def repair_reduction(rewriting: Rewriting, node: ir.Node) -> None:
    """ReduceL1, ReduceL2, ReduceSumSquare, ReduceLogSum, ReduceLogSumExp: MNN ignores axes that are an input."""
    data, output = node.inputs[0], node.outputs[0]
    sizes = sizes_of(data)
    if data is None or sizes is None:
        return
    name = output.name or ""
    match node.op_type:
        case "ReduceL1":
            terms = rewriting.node("Abs", [data], f"{name}/terms", None)
        case "ReduceLogSumExp":
            terms = rewriting.node("Exp", [data], f"{name}/terms", None)
        case "ReduceL2" | "ReduceSumSquare":
            terms = rewriting.node("Mul", [data, data], f"{name}/terms", None)
        case _:
            terms = data
    axes = list(normalized_axes(node, len(sizes)))
    keep = node.attributes.get_int("keepdims", 1) or 0
    # ReduceSum has its axes as an input since opset 13.
    given = rewriting.constant(f"{name}/axes", np.array(axes, np.int64))
    result = rewriting.node("ReduceSum", [terms, given], f"{name}/sum", None, keepdims=keep)
    follower = {"ReduceL2": "Sqrt", "ReduceLogSum": "Log", "ReduceLogSumExp": "Log"}.get(node.op_type)
    if follower is not None:
        result = rewriting.node(follower, [result], f"{name}/result", None)
    rewriting.replace(node, result)


def repair_many(rewriting: Rewriting, node: ir.Node) -> None:
    """Sum, Mean, Max and Min: MNN has them for two operands, and reads others wrongly or not at all."""
    output, operands = node.outputs[0], list(node.inputs)
    if len(operands) == 2 and node.op_type in {"Max", "Min"}:
        return
    name, total = output.name or "", operands[0]
    op_type = {"Sum": "Add", "Mean": "Add"}.get(node.op_type, node.op_type)
    for index, value in enumerate(operands[1:]):
        total = rewriting.node(op_type, [total, value], f"{name}/{index}", None)
    if node.op_type == "Mean":
        share = rewriting.constant(f"{name}/share", np.array(1 / len(operands), np.float32))
        total = rewriting.node("Mul", [total, share], f"{name}/mean", None)
    elif len(operands) == 1:
        total = rewriting.node("Identity", operands, f"{name}/same", None)
    assert total is not None
    rewriting.replace(node, total)


#: gelu(x) = x sigmoid(x p(x^2)); this is p((4u)^2) 4, a minimax fit by reweighted least squares: x sigmoid(x p(x^2)) is
#: 3e-6 off at most. The last is positive, so that the sigmoid is 0 or 1 far out. In u numbers are such that fp16 has.
_GELU = (6.382625087958728, 4.668005232178742, -0.25571648462069196, -1.0020789404814083, 0.5867218933032268)


def repair_gelu(rewriting: Rewriting, node: ir.Node) -> None:
    """Gelu: MNN's own is an approximation that is off by 2e-4, and its Erf takes longer than a matrix product."""
    data, name = node.inputs[0], node.outputs[0].name or ""
    if node.attributes.get_string("approximate", "none") != "none":
        return

    def step(op_type: str, left: ir.Value | None, right: ir.Value | float, what: str) -> ir.Value:
        if isinstance(right, float):
            right = rewriting.constant(f"{name}/{what}_by", np.array(right, np.float32))
        return rewriting.node(op_type, [left, right], f"{name}/{what}", None)

    quarter = step("Mul", data, 0.25, "quarter")
    square = step("Mul", quarter, quarter, "square")
    *others, last = _GELU
    power = step("Mul", square, last, f"times{len(others)}")
    for index, coefficient in reversed(list(enumerate(others))):
        power = step("Add", power, coefficient, f"plus{index}")
        power = step("Mul", power, square if index else quarter, f"times{index}")
    share = rewriting.node("Sigmoid", [power], f"{name}/share", None)
    rewriting.replace(node, step("Mul", data, share, "result"))


def repair_convolution(rewriting: Rewriting, node: ir.Node) -> None:
    """Conv or ConvTranspose over one dimension, which comes out with a fourth one: over images of height 1."""
    data, weight, output = node.inputs[0], node.inputs[1], node.outputs[0]
    kernel, result = constant(weight), sizes_of(output)
    source = sizes_of(data)
    if data is None or weight is None or kernel is None or kernel.ndim != 3 or result is None or source is None:
        return
    if output.name in rewriting.quantization:
        rewriting.drop_activation(node)
    name = output.name or ""
    image = rewriting.reshape(data, (*source[:2], 1, source[2]), f"{name}/image")
    flat = rewriting.constant(f"{name}/kernel", kernel[:, :, None, :])
    if weight.name in rewriting.quantization:
        rewriting.quantization[f"{name}/kernel"] = rewriting.of(weight)
    attributes: dict[str, object] = {"kernel_shape": [1, kernel.shape[2]]}
    for key, attribute in node.attributes.items():
        match key:
            case "strides" | "dilations" | "output_shape":
                attributes[key] = [1, *attribute.as_ints()]
            case "pads":
                before, after = attribute.as_ints()
                attributes[key] = [0, before, 0, after]
            case "output_padding":
                attributes[key] = [0, *attribute.as_ints()]
            case "group" | "auto_pad":
                attributes[key] = attribute.value
    parameters = rewriting.quantization.get(name)
    convolved = rewriting.node(node.op_type, [image, flat, *node.inputs[2:]], f"{name}/line", parameters, **attributes)
    rewriting.replace(node, rewriting.reshape(convolved, result, f"{name}/result"))


def repair_groups(rewriting: Rewriting, node: ir.Node) -> None:
    """ConvTranspose with groups that is not depthwise, of which MNN leaves memory unwritten: one per group."""
    groups = node.attributes.get_int("group", 1) or 1
    data, output = node.inputs[0], node.outputs[0]
    kernel = constant(node.inputs[1])
    bias = constant(input_of(node, 2))
    if groups == 1 or data is None or kernel is None or (kernel.shape[1] == 1 and kernel.shape[0] == groups):
        return
    name, wide, deep = output.name or "", kernel.shape[0] // groups, kernel.shape[1]
    attributes = {key: attribute.value for key, attribute in node.attributes.items() if key != "group"}
    parts: list[ir.Value] = []
    for group in range(groups):
        rows, columns = slice(group * wide, (group + 1) * wide), slice(group * deep, (group + 1) * deep)
        inputs = [
            rewriting.slice(data, f"{name}/{group}/input", 1, rows.start, rows.stop),
            rewriting.constant(f"{name}/{group}/kernel", kernel[rows]),
            *([] if bias is None else [rewriting.constant(f"{name}/{group}/bias", bias[columns])]),
        ]
        part = rewriting.node(
            "ConvTranspose", inputs, f"{name}/{group}", rewriting.quantization.get(name), **attributes
        )
        source, result = data.shape, output.shape
        if source is not None and result is not None:
            inputs[0].shape = ir.Shape([source[0], wide, *source[2:]])
            part.shape = ir.Shape([result[0], deep, *result[2:]])
        parts.append(part)
    rewriting.replace(node, rewriting.node("Concat", parts, f"{name}/result", rewriting.quantization.get(name), axis=1))


def repair_less(rewriting: Rewriting, node: ir.Node) -> None:
    """Less: MNN compares in another order now and then, which it does not with Greater."""
    name = f"{node.outputs[0].name}/greater"
    rewriting.replace(node, rewriting.node("Greater", [node.inputs[1], node.inputs[0]], name, None))


def repair_added_channels(rewriting: Rewriting, node: ir.Node) -> None:
    """Add of a number per channel behind a rectified convolution: MNN adds it in front of the Relu, to the bias."""
    for value, added in (node.inputs, node.inputs[::-1]):
        array, rectifier = constant(added), None if value is None else value.producer()
        if array is None or array.size == 1 or rectifier is None or rectifier.op_type not in {"Relu", "Clip"}:
            continue
        maker = rectifier.inputs[0].producer() if rectifier.inputs[0] is not None else None
        name = node.outputs[0].name or ""
        if maker is not None and maker.op_type in {"Conv", "ConvTranspose"} and name not in rewriting.quantization:
            taken = rewriting.constant(f"{name}/taken", -array)
            rewriting.replace(node, rewriting.node("Sub", [value, taken], f"{name}/sub", None))
            return


def repair_power(rewriting: Rewriting, node: ir.Node) -> None:
    """Pow: MNN has one type for both operands."""
    name = node.outputs[0].name or ""
    base = node.inputs[0]
    for index, value in enumerate(node.inputs):
        if value is None or is_float(value):
            continue
        array = constant(value)
        real = (
            rewriting.constant(f"{name}/operand{index}", array.astype(np.float32))
            if array is not None
            else rewriting.node("Cast", [value], f"{name}/operand{index}", None, to=int(ir.DataType.FLOAT))
        )
        rewriting.insert(node, real)
        node.replace_input_with(index, real)
    if base is not None and base.dtype is not None and base.dtype.is_integer():
        power = rewriting.node("Pow", list(node.inputs), f"{name}/power", None)
        half = rewriting.constant(f"{name}/half", np.array(0.5, np.float32))
        raised = rewriting.node("Add", [power, half], f"{name}/raised", None)
        nearest = rewriting.node("Floor", [raised], f"{name}/nearest", None)
        rewriting.replace(node, rewriting.node("Cast", [nearest], f"{name}/result", None, to=int(base.dtype)))


def repair_axes(rewriting: Rewriting, node: ir.Node) -> None:
    """Reductions: MNN takes an empty list of axes for none, where ONNX takes it for all."""
    given = constant(input_of(node, 1))
    sizes = sizes_of(node.inputs[0])
    if given is None or given.size or sizes is None:
        return
    name = node.outputs[0].name
    if node.attributes.get_int("noop_with_empty_axes", 0):
        rewriting.replace(node, rewriting.float_copy(node.inputs[0], f"{name}/same"))
    else:
        node.replace_input_with(1, rewriting.constant(f"{name}/axes", np.arange(len(sizes))))


def repair_cast(rewriting: Rewriting, node: ir.Node) -> None:
    """Cast to truth values: MNN keeps the number, of which any but 0 is true."""
    source = node.inputs[0]
    if node.attributes["to"].as_int() != ir.DataType.BOOL or source is None or source.dtype in {None, ir.DataType.BOOL}:
        return
    assert source.dtype is not None
    name = node.outputs[0].name or ""
    zero = rewriting.constant(f"{name}/zero", np.zeros((), source.dtype.numpy()))
    equal = rewriting.node("Equal", [source, zero], f"{name}/equal", None)
    equal.type = ir.TensorType(ir.DataType.BOOL)
    rewriting.replace(node, rewriting.node("Not", [equal], f"{name}/result", None))


def repair_states(rewriting: Rewriting, node: ir.Node) -> None:
    """LSTM, GRU and RNN: the last states come out with four dimensions."""
    graph = rewriting.model.graph
    for value in node.outputs[1:]:
        users, sizes, name = [(use.node, use.idx) for use in value.uses()], sizes_of(value), value.name or ""
        if sizes is None or not (users or value.is_graph_output()):
            continue
        shaped = rewriting.reshape(value, sizes, f"{name}/shaped")
        maker = shaped.producer()
        assert maker is not None
        graph.insert_after(node, maker)
        for user, index in users:
            user.replace_input_with(index, shaped)
        if value.is_graph_output():
            graph.outputs[graph.outputs.index(value)] = shaped
        shaped.shape, shaped.type = value.shape, value.type
        value.name, shaped.name = f"{name}/states", name
        rewriting.origins[f"{name}/states"] = rewriting.origins[name] = rewriting.origin(node)


def repair_split(rewriting: Rewriting, node: ir.Node) -> None:
    """Split into a number of parts that does not divide the size: MNN makes them equal."""
    sizes = [sizes_of(value) for value in node.outputs]
    if "num_outputs" not in node.attributes or any(size is None or -1 in size for size in sizes):
        return
    axis = node.attributes.get_int("axis", 0) or 0
    parts = np.array([size[axis] for size in sizes if size is not None])
    node.attributes.pop("num_outputs")
    node.resize_inputs(2)
    node.replace_input_with(1, rewriting.constant(f"{node.outputs[0].name}/parts", parts))
