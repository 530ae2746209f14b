"""What the rules of `lowering` share: a graph under construction, and how a node is replaced in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.converter import Unsupported
from edgecomp.graph.query import constant
from edgecomp.graph.values import add_constant, take_place
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import is_redundant_clip
from edgecomp.quantization.scheme import fused_activation


@dataclass
class Rewriting:
    """A graph that is being rewritten, and the parameters of its tensors.

    Attributes:
        model: Owned by the rewriting.
        quantization: By tensor name; rules add what they make.
        origins: The source node that a tensor was made for, by the tensor's name, for those that rules make.
        problems: Nodes that MNN cannot compute, found by the rules that were to make something else of them.
        unsettled: Tensor name -> its axes that have another size whenever the graph is rewritten for other sizes of
            its dynamic dimensions: no rule may write such a size into what it makes.
    """

    model: ir.Model
    quantization: dict[str, QuantizationParameters] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[Unsupported] = field(default_factory=list)
    unsettled: Mapping[str | None, frozenset[int]] = field(default_factory=dict)

    def is_settled(self, value: ir.Value | None, *axes: int) -> bool:
        """Whether a tensor has one size along some axes, counted from the front, at all sizes of the model."""
        return value is None or self.unsettled.get(value.name, frozenset()).isdisjoint(axes)

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        output: str,
        parameters: QuantizationParameters | None,
        **attributes: object,
    ) -> ir.Value:
        """Makes a node that is not in the graph yet.

        Args:
            op_type: A standard ONNX operator with one output.
            inputs: Its inputs.
            output: The name of its output.
            parameters: How its output is quantized; None for float.
            **attributes: Its attributes.
        """
        made = ir.node(op_type, inputs, attributes=attributes or None, name=output)  # type: ignore[arg-type]
        value = made.outputs[0]
        value.name, value.dtype = output, ir.DataType.FLOAT
        if parameters is not None:
            self.quantization[output] = parameters
        return value

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
        """A new initializer."""
        return add_constant(self.model.graph, name, array)

    def reshape(self, value: ir.Value, sizes: Sequence[int], output: str) -> ir.Value:
        """A Reshape of `value`, which keeps its parameters."""
        shape = self.constant(f"{output}/sizes", np.asarray(sizes, np.int64))
        return self.node("Reshape", [value, shape], output, self.quantization.get(value.name or ""))

    def slice(self, value: ir.Value, output: str, axis: int, start: int, end: int, step: int = 1) -> ir.Value:
        """A Slice of `value` along one axis, which keeps its parameters."""
        numbers = [
            self.constant(f"{output}/{what}", np.array([number], np.int64))
            for what, number in (("start", start), ("end", end), ("axis", axis), ("step", step))
        ]
        return self.node("Slice", [value, *numbers], output, self.quantization.get(value.name or ""))

    def convolve(
        self,
        data: ir.Value,
        weight: tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]],
        bias: npt.NDArray[np.float32] | None,
        output: str,
        parameters: QuantizationParameters,
        **attributes: object,
    ) -> ir.Value:
        """A Conv whose weight is given as integers and one scale per output channel."""
        integers, scale = weight
        stored = QuantizationParameters(scale, np.zeros(len(scale), np.int32), axis=0)
        kernel = self.constant(f"{output}/kernel", stored.dequantize(integers))
        self.quantization[f"{output}/kernel"] = stored
        inputs = [data, kernel] if bias is None else [data, kernel, self.constant(f"{output}/bias", bias)]
        return self.node("Conv", inputs, output, parameters, kernel_shape=list(integers.shape[2:]), **attributes)

    def float_copy(self, value: ir.Value | None, output: str) -> ir.Value:
        """A copy that MNN makes in float, and does not optimize away.

        MNN has no integer kernel for this operator, and passes no parameters on through it.
        """
        return self.node("Where", [self.constant(f"{output}/always", np.array([True])), value, value], output, None)

    def compute_in_float(self, node: ir.Node) -> None:
        """Keeps MNN from computing a node in integers.

        It chooses integers when the inputs have parameters, and for pools, resizes and activations it takes those of
        the output for the input, and the other way round. So there is a float copy on either side.
        """
        data, output = node.inputs[0], node.outputs[0]
        name = output.name or ""
        if data is not None and data.name in self.quantization:
            copy = self.float_copy(data, f"{name}/data")
            self.insert(node, copy)
            node.replace_input_with(0, copy)
        parameters = self.quantization.pop(name, None)
        if parameters is not None:
            users = [(use.node, use.idx) for use in output.uses()]
            copy = self.float_copy(output, f"{name}/copy")
            self.origins[f"{name}/real"] = self.origins.pop(name, node.name or "")
            maker = copy.producer()
            assert maker is not None
            self.model.graph.insert_after(node, maker)
            for user, index in users:
                user.replace_input_with(index, copy)
            if output.is_graph_output():
                outputs = self.model.graph.outputs
                outputs[outputs.index(output)] = copy
            copy.shape, copy.type = output.shape, output.type
            output.name, copy.name = f"{name}/real", name
            self.quantization[name] = parameters
            self.origins[name] = self.origins[f"{name}/real"]

    def refuse(self, node: ir.Node, reason: str, cure: str) -> None:
        """Notes that MNN cannot compute a node."""
        self.problems.append(Unsupported(self.origin(node), node.op_type, reason, cure))

    def origin(self, node: ir.Node) -> str:
        """The name of the source node that a node stands for."""
        return self.origins.get(node.outputs[0].name or "", node.name or "")

    def insert(self, node: ir.Node, result: ir.Value) -> None:
        """Puts everything that makes `result` in front of a node, for which it is made."""
        makers, origin = _new_makers(result), self.origin(node)
        self.origins.update((value.name or "", origin) for maker in makers for value in maker.outputs)
        self.model.graph.insert_before(node, makers)

    def of(self, value: ir.Value | None) -> QuantizationParameters:
        """The parameters of a value of the graph."""
        assert value is not None
        return self.quantization[value.name or ""]

    def real(self, value: ir.Value | None) -> npt.NDArray[np.float32] | None:
        """The numbers that a constant stands for after quantization; None when it is computed."""
        array = constant(value)
        if array is None or value is None:
            return None
        parameters = self.quantization.get(value.name or "")
        return array if parameters is None else parameters.dequantize(parameters.quantize(array))

    def replace(self, node: ir.Node, result: ir.Value) -> None:
        """Puts `result` in the place of a node's output, with its name, and everything it needs in front of it."""
        old, graph = node.outputs[0], self.model.graph
        self.insert(node, result)
        origin = self.origin(node)
        result.shape, result.type = old.shape, old.type
        self.origins.pop(result.name or "")
        take_place(result, old)
        self.origins[result.name or ""] = origin
        graph.remove(node, safe=True)

    def drop_activation(self, node: ir.Node) -> None:
        """Removes the activation fused into a node where saturation in int8 does the same."""
        activation = fused_activation(node)
        if activation is None or not is_redundant_clip(activation, self.of(activation.outputs[0])):
            return
        take_place(node.outputs[0], activation.outputs[0])
        self.model.graph.remove(activation, safe=True)


def _new_makers(result: ir.Value) -> list[ir.Node]:
    """The nodes that `result` needs and that are in no graph yet, in topological order."""
    found: dict[ir.Node, None] = {}

    def visit(value: ir.Value | None) -> None:
        maker = None if value is None else value.producer()
        if maker is None or maker.graph is not None or maker in found:
            return
        for source in maker.inputs:
            visit(source)
        found[maker] = None

    visit(result)
    return list(found)


def sizes_of(value: ir.Value | None) -> list[int] | None:
    """The sizes of a value with -1 for the one that is unknown; None when more are."""
    if value is None or value.shape is None:
        return None
    sizes = [size if isinstance(size, int) else -1 for size in value.shape]
    return sizes if sizes.count(-1) <= 1 else None
