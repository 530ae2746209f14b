"""The state of one conversion: which tensor holds which value, in which layouts and forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.builder import TENSOR_TYPES, Builder, Tensor
from edgecomp.converters.tflite.layout import Layout, identity, moves_memory, stored_shape
from edgecomp.converters.tflite.outlook import Outlook
from edgecomp.graph.query import constant, is_constant, shape_of
from edgecomp.model import CompressedModel
from edgecomp.quantization.half import is_half
from edgecomp.quantization.parameters import QuantizationParameters

#: "integer": the quantized form of a real value. "real": any other value, as in the source.
Form = Literal["integer", "real"]


#: Constants with fewer elements are not worth an operator that unpacks them.
_FEW = 16


class Unsuited(Exception):  # noqa: N818 (not an error: the caller turns it into one, or into a float island)
    """Raised by a lowering that cannot express its node.

    Args:
        reason: Why.
        cure: What helps, if there is more to do than removing the node.
    """

    def __init__(self, reason: str, cure: str | None = None) -> None:
        super().__init__(reason)
        self.cure = cure


def type_of(value: ir.Value) -> str:
    """Returns the numpy name of a value's type, which this package also uses for TFLite's types.

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
        precision: The precision of the file.
        outlook: The later costs of layouts.

    Args:
        model: The model.
        lower: Lowers one node, for operators with subgraphs.
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
        """Returns the lowering of a subgraph, with its own places for values."""
        return Lowering(self._model, self._lower, self)

    def lower(self, nodes: Iterable[ir.Node]) -> None:
        """Lowers nodes in their order."""
        for node in nodes:
            if node not in self.done:
                self._lower(self, node)

    # --- places of values -------------------------------------------------------------------------------------------

    def place(self, value: ir.Value, tensor: Tensor, layout: Layout, form: Form) -> None:
        """Records that `tensor` holds `value`."""
        self._places.setdefault(value, {})[form, layout] = tensor
        self._home.setdefault(value, (form, layout))

    def layout(self, value: ir.Value) -> Layout:
        """Returns the layout in which a value was produced; constants have the source's."""
        return self._home[value][1] if value in self._home else identity(len(shape_of(value)))

    def has(self, value: ir.Value, layout: Layout) -> bool:
        """Tells whether a value is available in a layout without moving memory."""
        if is_constant(value):
            return True
        shape = shape_of(value)
        return any(not moves_memory(shape, known, layout) for _, known in self._places[value])

    def cheapest(self, source: ir.Value, result: ir.Value, options: Iterable[Layout]) -> Layout:
        """Returns the first layout that moves the fewest elements, now and later, among those that both can have."""
        size = math.prod(shape_of(source))
        return min(
            dict.fromkeys(options),
            key=lambda layout: self.outlook.cost(result, layout) + size * (not self.has(source, layout)),
        )

    def shuffle(self, value: ir.Value, order: npt.NDArray[np.intp]) -> None:
        """Records that the last dimension of `value` is stored in another order: element k is the source's order[k]."""
        self._shuffled[value] = order

    def order(self, value: ir.Value) -> npt.NDArray[np.intp] | None:
        """Returns the stored order of the last dimension; None if it is the source's."""
        return self._shuffled.get(value)

    # --- fetching values --------------------------------------------------------------------------------------------

    def fetch(self, value: ir.Value, layout: Layout, form: Form) -> Tensor:
        """Returns the tensor of a value in a layout and form; missing conversions are added, each once."""
        if is_constant(value):
            return self._constant(value, layout, form)
        places = self._places[value]
        if (form, layout) in places:
            return places[form, layout]
        if any(known_form == form for known_form, _ in places):
            source = self._nearest(value, layout, form)
            tensor = self._relaid(value, places[form, source], source, layout)
        else:
            # The integer form is smaller, so it is better to move than the real one.
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
        """Returns the real values of a value's integer form, even if the original real ones are available."""
        if self._home[value][0] == "integer":
            return self.fetch(value, layout, "real")
        if (value, layout) not in self._restored:
            self._restored[value, layout] = self._converted(value, self.fetch(value, layout, "integer"), "real")
        return self._restored[value, layout]

    def settle(self, value: ir.Value) -> None:
        """Replaces the real form of a value by its integer form."""
        form, layout = self._home[value]
        if form == "real":
            tensor = self.fetch(value, layout, "integer")
            self._places[value], self._home[value] = {("integer", layout): tensor}, ("integer", layout)

    def forget(self, node: ir.Node, activation: ir.Node | None) -> None:
        """Undoes what the lowering of a node placed before it failed."""
        for value in (*node.outputs, *(activation.outputs if activation is not None else ())):
            self._places.pop(value, None)
            self._home.pop(value, None)
            self._shuffled.pop(value, None)
        if activation is not None:
            self.done.discard(activation)

    def _nearest(self, value: ir.Value, layout: Layout, form: Form) -> Layout:
        """Returns an available layout from which memory need not move, or else the first one."""
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

    # --- small operators that many lowerings use --------------------------------------------------------------------

    def quantized(self, tensor: Tensor, parameters: QuantizationParameters, name: str) -> Tensor:
        """Quantizes a float tensor, or changes the parameters of an integer one."""
        result = self.builder.tensor(name, tensor.shape, parameters.dtype, parameters)
        self.builder.operator("QUANTIZE", [tensor], [result], schema.QuantizeOptionsT())
        return result

    def unpacked(self, tensor: Tensor) -> Tensor:
        """Unpacks a constant of another type to float32, once for all its readers."""
        if tensor not in self._unpacked:
            real = self.builder.tensor(f"{tensor.name}/unpacked", tensor.shape, "float32")
            self.builder.operator("DEQUANTIZE", [tensor], [real], schema.DequantizeOptionsT())
            self._unpacked[tensor] = real
        return self._unpacked[tensor]

    def as_half(self, tensor: Tensor) -> Tensor:
        """Stores a float32 constant as float16, unless that loses accuracy or saves next to nothing."""
        array = tensor.data
        if array is None or tensor.dtype != "float32" or array.size < _FEW or not is_half(array):
            return tensor
        return self.unpacked(self.builder.constant(f"{tensor.name}/half", array.astype(np.float16)))

    def reshape(self, tensor: Tensor, shape: Sequence[int], name: str) -> Tensor:
        """Reshapes without moving memory; reshaping back returns the original tensor."""
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
        """Creates a constant int32 vector, for shapes, axes and paddings."""
        return self.builder.constant(name, np.array(numbers, np.int32))


LowerNode = Callable[[Lowering, ir.Node], object]
