"""The state of one conversion: where each value of the graph lies in the file, and how operators get at it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgecomp.arrays import Array
from edgecomp.converters.tflite import kernels
from edgecomp.converters.tflite.builder import TENSOR_TYPES, Builder, Tensor
from edgecomp.converters.tflite.layout import Layout, identity, moves_memory, stored_shape
from edgecomp.converters.tflite.outlook import Outlook
from edgecomp.graph.query import clip_bounds, constant, input_of, is_constant, is_float, shape_of
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.half import is_half
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import is_redundant_clip

#: "integer": the quantized form of a value that stands for real numbers. "real": everything else, as the source has it.
Form = Literal["integer", "real"]


#: Constants of fewer numbers are not worth an operator that unpacks them.
_FEW = 16


class Unsuited(Exception):  # noqa: N818 (not an error: the caller turns it into one, or into a float island)
    """Raised by a lowering that cannot express its node.

    Args:
        reason: Why.
        cure: What helps, where that is more than doing without the node.
    """

    def __init__(self, reason: str, cure: str | None = None) -> None:
        super().__init__(reason)
        self.cure = cure


def type_of(value: ir.Value) -> str:
    """The numpy name of a value's type, which is also what this package calls TFLite's.

    Raises:
        Unsuited: TFLite has no such type.
    """
    name = str(value.dtype) if value.dtype is None or value.dtype == ir.DataType.STRING else value.dtype.numpy().name
    if name not in TENSOR_TYPES:
        raise Unsuited(f"{value.name} holds numbers of a type that TFLite does not compute with ({value.dtype})")
    return name


class Lowering:
    """Places values in a file.

    Attributes:
        builder: Collects the file's tensors and operators.
        table: The model's quantization table.
        precision: What the file is to be in.
        outlook: What a layout will cost further on.

    Args:
        model: The model.
        lower: Lowers one node; lowerings of operators with subgraphs need it.
        around: The lowering of the graph around a subgraph.
    """

    def __init__(self, model: CompressedModel, lower: LowerNode, around: Lowering | None = None) -> None:
        self.builder: Builder = Builder(None if around is None else around.builder)
        self.outlook: Outlook = Outlook(model.graph.graph) if around is None else around.outlook
        self.table = model.quantization
        self._model, self._lower = model, lower
        self.precision = model.precision
        self._unpacked: dict[Tensor, Tensor] = {}
        self._places: dict[ir.Value, dict[tuple[Form, Layout], Tensor]] = {}
        self._home: dict[ir.Value, tuple[Form, Layout]] = {}
        self._restored: dict[tuple[ir.Value, Layout], Tensor] = {}
        self._shuffled: dict[ir.Value, npt.NDArray[np.intp]] = {}
        self.done: set[ir.Node] = set()

    def inside(self) -> Lowering:
        """The lowering of a subgraph, which has places of its own for values."""
        return Lowering(self._model, self._lower, self)

    def lower(self, nodes: Iterable[ir.Node]) -> None:
        """Lowers nodes in their order."""
        for node in nodes:
            if node not in self.done:
                self._lower(self, node)

    # --- where values are -------------------------------------------------------------------------------------------

    def place(self, value: ir.Value, tensor: Tensor, layout: Layout, form: Form) -> None:
        """Says that `tensor` holds `value`."""
        self._places.setdefault(value, {})[form, layout] = tensor
        self._home.setdefault(value, (form, layout))

    def layout(self, value: ir.Value) -> Layout:
        """The layout that a value was made in; constants have the source's."""
        return self._home[value][1] if value in self._home else identity(len(shape_of(value)))

    def has(self, value: ir.Value, layout: Layout) -> bool:
        """Whether a value can be had in a layout without moving memory."""
        if is_constant(value):
            return True
        shape = shape_of(value)
        return any(not moves_memory(shape, known, layout) for _, known in self._places[value])

    def cheapest(self, source: ir.Value, result: ir.Value, options: Iterable[Layout]) -> Layout:
        """Of the layouts that both could have, the first that moves the fewest elements, now and later."""
        size = math.prod(shape_of(source))
        return min(
            dict.fromkeys(options),
            key=lambda layout: self.outlook.cost(result, layout) + size * (not self.has(source, layout)),
        )

    def shuffle(self, value: ir.Value, order: npt.NDArray[np.intp]) -> None:
        """Notes that the last dimension of `value` is stored in another order: place k holds the source's order[k]."""
        self._shuffled[value] = order

    def order(self, value: ir.Value) -> npt.NDArray[np.intp] | None:
        """The stored order of the last dimension, when it is not the source's."""
        return self._shuffled.get(value)

    # --- getting at values ------------------------------------------------------------------------------------------

    def fetch(self, value: ir.Value, layout: Layout, form: Form) -> Tensor:
        """The tensor that holds a value in a layout and form; conversions are added where needed, once."""
        if is_constant(value):
            return self._constant(value, layout, form)
        places = self._places[value]
        if (form, layout) in places:
            return places[form, layout]
        if any(known_form == form for known_form, _ in places):
            source = self._nearest(value, layout, form)
            tensor = self._relaid(value, places[form, source], source, layout)
        else:
            # The integer form is smaller: move it rather than the real one.
            other: Form = "real" if form == "integer" else "integer"
            source = self._nearest(value, layout, other)
            if other == "integer":
                tensor = self._converted(value, self.fetch(value, layout, other), form)
            else:
                tensor = self._converted(value, places[other, source], form)
                places[form, source] = tensor
                return self.fetch(value, layout, form)
        places[form, layout] = tensor
        return tensor

    def restored(self, value: ir.Value, layout: Layout) -> Tensor:
        """The real numbers that the integer form of a value stands for, even where the original ones are at hand."""
        if self._home[value][0] == "integer":
            return self.fetch(value, layout, "real")
        if (value, layout) not in self._restored:
            self._restored[value, layout] = self._converted(value, self.fetch(value, layout, "integer"), "real")
        return self._restored[value, layout]

    def settle(self, value: ir.Value) -> None:
        """Gives a value that was made in real form its integer form as the only one."""
        form, layout = self._home[value]
        if form == "real":
            tensor = self.fetch(value, layout, "integer")
            self._places[value], self._home[value] = {("integer", layout): tensor}, ("integer", layout)

    def forget(self, node: ir.Node, activation: ir.Node | None) -> None:
        """Takes back what the lowering of a node placed before it gave up."""
        for value in (*node.outputs, *(activation.outputs if activation is not None else ())):
            self._places.pop(value, None)
            self._home.pop(value, None)
            self._shuffled.pop(value, None)
        if activation is not None:
            self.done.discard(activation)

    def _nearest(self, value: ir.Value, layout: Layout, form: Form) -> Layout:
        """Of the layouts at hand, one from which memory need not move, else the first."""
        known = [place for place_form, place in self._places[value] if place_form == form]
        shape = shape_of(value)
        return next((place for place in known if not moves_memory(shape, place, layout)), known[0])

    def _constant(self, value: ir.Value, layout: Layout, form: Form) -> Tensor:
        places = self._places.setdefault(value, {})
        if (form, layout) not in places:
            array = constant(value)
            assert array is not None
            type_of(value)
            stored = np.transpose(array, layout)
            parameters = self.table.get(value.name or "") if form == "integer" else None
            if parameters is not None:
                stored = parameters.quantize(stored)
            places[form, layout] = self.builder.constant(value.name or "constant", stored, parameters)
        return places[form, layout]

    def _relaid(self, value: ir.Value, tensor: Tensor, source: Layout, target: Layout) -> Tensor:
        shape = shape_of(value)
        result = stored_shape(shape, target)
        if not moves_memory(shape, source, target):
            return self.reshape(tensor, result, f"{value.name}/relaid")
        moved = self.builder.tensor(f"{value.name}/transposed", result, tensor.dtype, tensor.quantization)
        permutation = np.array([source.index(dimension) for dimension in target], np.int32)
        inputs = [tensor, self.builder.constant("permutation", permutation)]
        self.builder.operator("TRANSPOSE", inputs, [moved], schema.TransposeOptionsT())
        return moved

    def _converted(self, value: ir.Value, tensor: Tensor, form: Form) -> Tensor:
        if form == "real":
            real = self.builder.tensor(f"{value.name}/real", tensor.shape, "float32")
            self.builder.operator("DEQUANTIZE", [tensor], [real], schema.DequantizeOptionsT())
            return real
        return self.quantized(tensor, self.table[value.name or ""], f"{value.name}/quantized")

    # --- small operators that many lowerings need -------------------------------------------------------------------

    def quantized(self, tensor: Tensor, parameters: QuantizationParameters, name: str) -> Tensor:
        """A float tensor quantized, or an integer one with other parameters."""
        result = self.builder.tensor(name, tensor.shape, parameters.dtype, parameters)
        self.builder.operator("QUANTIZE", [tensor], [result], schema.QuantizeOptionsT())
        return result

    def unpacked(self, tensor: Tensor) -> Tensor:
        """The float32 numbers that a constant of another type stands for; unpacked once for all its readers."""
        if tensor not in self._unpacked:
            real = self.builder.tensor(f"{tensor.name}/unpacked", tensor.shape, "float32")
            self.builder.operator("DEQUANTIZE", [tensor], [real], schema.DequantizeOptionsT())
            self._unpacked[tensor] = real
        return self._unpacked[tensor]

    def as_half(self, tensor: Tensor) -> Tensor:
        """A float32 constant stored as float16; one that would lose by it, or gain next to nothing, as it is."""
        array = tensor.data
        if array is None or tensor.dtype != "float32" or array.size < _FEW or not is_half(array):
            return tensor
        return self.unpacked(self.builder.constant(f"{tensor.name}/half", array.astype(np.float16)))

    def reshape(self, tensor: Tensor, shape: Sequence[int], name: str) -> Tensor:
        """The same memory under another shape; reshaping back gives the tensor that was there before."""
        shape = tuple(shape)
        if tensor.shape == shape:
            return tensor
        if tensor.data is not None:
            return self.builder.constant(name, tensor.data.reshape(shape), tensor.quantization)
        maker = self.builder.maker(tensor)
        if maker is not None and maker.code == schema.BuiltinOperator.RESHAPE and maker.inputs[0] is not None:
            return self.reshape(maker.inputs[0], shape, name)
        result = self.builder.tensor(name, shape, tensor.dtype, tensor.quantization)
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        self.builder.operator("RESHAPE", [tensor, self.integers(shape, "shape")], [result], options)
        return result

    def integers(self, numbers: Sequence[int], name: str) -> Tensor:
        """A constant int32 vector, as TFLite wants shapes, axes and paddings."""
        return self.builder.constant(name, np.array(numbers, np.int32))


class Operation:
    """One node while it is being lowered; what the functions in `ops` work with.

    Attributes:
        node: The ONNX node.
        form: Whether it is computed in integers.
        island: Whether it ought to be and is not: then it works on real numbers that went through their integers,
            weights included, so that it computes what the simulation predicts.
        lowering: The conversion that it is part of.
        activation: The Relu or Clip that was fused into it.
    """

    def __init__(self, lowering: Lowering, node: ir.Node, *, island: bool = False) -> None:
        self.lowering = lowering
        self.node = node
        self.builder = lowering.builder
        self.island = island
        integer = not island and scheme.runs_in_integers(node, lowering.table)
        self.form: Form = "integer" if integer else "real"
        self.activation: ir.Node | None = None
        self._read: set[int] = set()

    @property
    def integer(self) -> bool:
        """Whether the node is computed in integers."""
        return self.form == "integer"

    def value(self, index: int) -> ir.Value:
        """An input that must be there."""
        value = input_of(self.node, index)
        if value is None:
            raise Unsuited(f"its input {index} is missing")
        self._read.add(index)
        return value

    def check_all_read(self) -> None:
        """Sees to it that no computed operand was left out: a constant may be, once it was looked at.

        Raises:
            Unsuited: One was, so the artifact would give what another operand gives.
        """
        for index, value in enumerate(self.node.inputs):
            if value is not None and not is_constant(value) and index not in self._read:
                raise Unsuited(f"its input {index} ({value.name}) is computed, and TFLite needs a constant")

    def has_input(self, index: int) -> bool:
        """Whether an optional input is given."""
        return input_of(self.node, index) is not None

    def constant(self, index: int) -> Array:
        """The array of an input that has to be constant."""
        array = self.array(self.value(index))
        if array is None:
            raise Unsuited(f"its input {index} ({self.value(index).name}) is computed, and TFLite needs a constant")
        return array

    def array(self, value: ir.Value) -> Array | None:
        """The array of a constant, as this node sees it; None when the value is computed."""
        array = constant(value)
        parameters = self.lowering.table.get(value.name or "") if self.island else None
        return array if array is None or parameters is None else parameters.dequantize(parameters.quantize(array))

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape of an input, in the source's order."""
        return shape_of(self.value(index))

    def layout(self, index: int) -> Layout:
        """The layout that an input lies in already."""
        return self.lowering.layout(self.value(index))

    def input(self, index: int, layout: Layout | None = None) -> Tensor:
        """An input in the form of this node, and in `layout` or as it lies."""
        value = self.value(index)
        layout = self.layout(index) if layout is None else layout
        if self.island and is_float(value) and value.name in self.lowering.table:
            array = self.array(value)
            if array is not None:
                return self.real_constant(np.transpose(array, layout), "operand")
            return self.lowering.restored(value, layout)
        return self.lowering.fetch(value, layout, self.form if is_float(value) else "real")

    def parameters(self, value: ir.Value) -> QuantizationParameters | None:
        """The parameters that a value has in this node: None when the node computes in float."""
        return self.lowering.table.get(value.name or "") if self.integer and is_float(value) else None

    def is_used(self, index: int) -> bool:
        """Whether somebody wants an output."""
        value = self.node.outputs[index]
        return bool(tuple(value.uses())) or value.is_graph_output()

    def weight_parameters(self) -> QuantizationParameters | None:
        """The parameters of input 1 where it is stored in integers and the node computes in float.

        Kernels take weights whose zero point is 0; others are stored in float.
        """
        value = self.value(1)
        places = [place for place, given in enumerate(self.node.inputs) if given is value]
        alone = not self.integer and scheme.has_constant_weight(self.node) and places == [1]
        parameters = self.lowering.table.get(value.name or "") if alone else None
        return None if parameters is None or parameters.zero_point.any() else parameters

    @property
    def is_hybrid(self) -> bool:
        """Whether the node multiplies a weight in integers with activations that are quantized at run time."""
        parameters = self.weight_parameters()
        return parameters is not None and (self.lowering.precision == "dynamic-int8" or parameters.dtype == "int4")

    # --- outputs ----------------------------------------------------------------------------------------------------

    @property
    def result(self) -> ir.Value:
        """The value that this node gives: that of the activation that was fused into it, when one was."""
        return (self.activation or self.node).outputs[0]

    def output(self, layout: Layout, index: int = 0) -> Tensor:
        """The tensor for an output, new and placed."""
        value = self.result if index == 0 else self.node.outputs[index]
        parameters = self.parameters(value)
        dtype = parameters.dtype if parameters is not None else type_of(value)
        tensor = self.builder.tensor(value.name or "", stored_shape(shape_of(value), layout), dtype, parameters)
        self.lowering.place(value, tensor, layout, self.form)
        return tensor

    def alias(self, tensor: Tensor, layout: Layout, index: int = 0) -> None:
        """Says that an output lies where `tensor` lies already."""
        self.lowering.place(self.node.outputs[index], tensor, layout, self.form)

    def emit(self, name: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor], options: Any = None) -> None:
        """Appends an operator, between CASTs where its kernel does not take the numbers (see `kernels`)."""
        if self.lowering.precision == "fp16" and not scheme.stays_in_float(self.node):
            inputs = [None if tensor is None else self.lowering.as_half(tensor) for tensor in inputs]
        data = inputs[kernels.data_input(name)]
        assert data is not None
        wide = data.dtype if data.quantization else kernels.computing_type(name, data.dtype)
        if wide == data.dtype:
            self.builder.operator(name, inputs, outputs, options)
            return
        if wide is None:
            raise Unsuited(f"{name} has no kernel for {data.dtype}")
        narrow = data.dtype
        operands = [self.cast(each, wide) if each is not None and each.dtype == narrow else each for each in inputs]
        results = [
            self.builder.tensor(f"{each.name}/{wide}", each.shape, wide) if each.dtype == narrow else each
            for each in outputs
        ]
        self.builder.operator(name, operands, results, options)
        for result, output in zip(results, outputs, strict=True):
            if result is not output:
                self.builder.operator("CAST", [result], [output], schema.CastOptionsT())

    def cast(self, tensor: Tensor, dtype: str) -> Tensor:
        """A tensor's numbers in another type; constants are converted here and now."""
        if tensor.dtype == dtype:
            return tensor
        name = f"{tensor.name}/{dtype}"
        if tensor.data is not None:
            narrowed = tensor.data.astype(dtype)
            if not np.array_equal(narrowed, tensor.data, equal_nan=True) and narrowed.dtype.kind in "iu":
                raise Unsuited(f"the constant {tensor.name} has numbers that {dtype} does not hold")
            return self.builder.constant(name, narrowed)
        result = self.builder.tensor(name, tensor.shape, dtype)
        self.builder.operator("CAST", [tensor], [result], schema.CastOptionsT())
        return result

    def temporary(self, like: Tensor, shape: Sequence[int] | None = None, suffix: str = "part") -> Tensor:
        """An intermediate tensor of this node with the type and parameters of another."""
        name = f"{self.node.name}/{suffix}"
        return self.builder.tensor(name, like.shape if shape is None else shape, like.dtype, like.quantization)

    def real_constant(self, array: npt.ArrayLike, name: str) -> Tensor:
        """A float32 constant of this node."""
        return self.builder.constant(f"{self.node.name}/{name}", np.asarray(array, np.float32))

    def gathered(self, tensor: Tensor, place: int, index: Array, suffix: str) -> Tensor:
        """The elements `index` of a tensor along a stored dimension."""
        result = self.temporary(tensor, (*tensor.shape[:place], len(index), *tensor.shape[place + 1 :]), suffix)
        options = schema.GatherOptionsT()
        options.axis = place
        self.emit("GATHER", [tensor, self.lowering.integers(index.tolist(), "indices")], [result], options)
        return result

    # --- fused activations ------------------------------------------------------------------------------------------

    def fuse_activation(self) -> int:
        """Takes the Relu or Clip that follows into this node when TFLite can; call before `output`.

        Returns:
            The schema's ActivationFunctionType.
        """
        activation = scheme.fused_activation(self.node)
        if activation is None:
            return int(schema.ActivationFunctionType.NONE)
        before, after = (self.parameters(node.outputs[0]) for node in (self.node, activation))
        if before != after:
            return int(schema.ActivationFunctionType.NONE)
        if after is not None and is_redundant_clip(activation, after):
            code = int(schema.ActivationFunctionType.NONE)
        else:
            code = FUSED_ACTIVATIONS.get(clip_bounds(activation), -1)
        if code >= 0:
            self.activation = activation
            self.lowering.done.add(activation)
        return max(code, 0)


FUSED_ACTIVATIONS: dict[tuple[float, float], int] = {
    (0.0, np.inf): int(schema.ActivationFunctionType.RELU),
    (0.0, 6.0): int(schema.ActivationFunctionType.RELU6),
    (-1.0, 1.0): int(schema.ActivationFunctionType.RELU_N1_TO_1),
}

LoweringFunction = Callable[[Operation], None]
LowerNode = Callable[[Lowering, ir.Node], object]
