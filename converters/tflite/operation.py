"""One node while it is being lowered, with access to its inputs, outputs and constants for the functions in `ops`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgecomp.arrays import Array
from edgecomp.converters.tflite import kernels
from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.layout import Layout, stored_shape
from edgecomp.converters.tflite.lowering import Form, Lowering, Unsuited, type_of
from edgecomp.graph.query import clip_bounds, constant, input_of, is_constant, is_float, shape_of
from edgecomp.quantization import scheme
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import is_redundant_clip


class Operation:
    """One node while it is being lowered, for use by the functions in `ops`.

    Attributes:
        node: The ONNX node.
        form: Whether it is computed in integers.
        island: Whether it should be computed in integers but is not. Then it works on real values that were rounded to
            their integers, including weights, so that it computes what the simulation predicts.
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
        """Returns an input that must be present."""
        value = input_of(self.node, index)
        if value is None:
            raise Unsuited(f"its input {index} is missing")
        self._read.add(index)
        return value

    def check_all_read(self) -> None:
        """Checks that no computed operand was ignored; a constant may be, after it was examined.

        Raises:
            Unsuited: An operand was ignored, so the artifact would not depend on it.
        """
        for index, value in enumerate(self.node.inputs):
            if value is not None and not is_constant(value) and index not in self._read:
                raise Unsuited(f"its input {index} ({value.name}) is computed, and TFLite needs a constant")

    def has_input(self, index: int) -> bool:
        """Tells whether an optional input is present."""
        return input_of(self.node, index) is not None

    def constant(self, index: int) -> Array:
        """Returns the array of an input that must be constant."""
        array = self.array(self.value(index))
        if array is None:
            raise Unsuited(f"its input {index} ({self.value(index).name}) is computed, and TFLite needs a constant")
        return array

    def array(self, value: ir.Value) -> Array | None:
        """Returns the array of a constant, as this node sees it; None for a computed value."""
        array = constant(value)
        parameters = self.lowering.table.get(value.name or "") if self.island else None
        return array if array is None or parameters is None else parameters.dequantize(parameters.quantize(array))

    def shape(self, index: int) -> tuple[int, ...]:
        """Returns the shape of an input, in the source's order."""
        return shape_of(self.value(index))

    def layout(self, index: int) -> Layout:
        """Returns the current layout of an input."""
        return self.lowering.layout(self.value(index))

    def input(self, index: int, layout: Layout | None = None) -> Tensor:
        """Returns an input in the form of this node, in `layout` or its current layout."""
        value = self.value(index)
        layout = self.layout(index) if layout is None else layout
        if self.island and is_float(value) and value.name in self.lowering.table:
            array = self.array(value)
            if array is not None:
                return self.real_constant(np.transpose(array, layout), "operand")
            return self.lowering.restored(value, layout)
        return self.lowering.fetch(value, layout, self.form if is_float(value) else "real")

    def parameters(self, value: ir.Value) -> QuantizationParameters | None:
        """Returns the parameters of a value in this node: None if the node computes in float."""
        return self.lowering.table.get(value.name or "") if self.integer and is_float(value) else None

    def is_used(self, index: int) -> bool:
        """Tells whether an output is used."""
        value = self.node.outputs[index]
        return bool(tuple(value.uses())) or value.is_graph_output()

    def weight_parameters(self) -> QuantizationParameters | None:
        """Returns the parameters of input 1 if it is stored in integers and the node computes in float.

        Kernels support such weights only with zero point 0; others are stored in float.
        """
        value = self.value(1)
        places = [place for place, given in enumerate(self.node.inputs) if given is value]
        alone = not self.integer and scheme.has_constant_weight(self.node) and places == [1]
        parameters = self.lowering.table.get(value.name or "") if alone else None
        return None if parameters is None or parameters.zero_point.any() else parameters

    @property
    def is_hybrid(self) -> bool:
        """Whether the node multiplies an integer weight with activations that are quantized at run time."""
        parameters = self.weight_parameters()
        return parameters is not None and (self.lowering.precision == "dynamic-int8" or parameters.dtype == "int4")

    # --- outputs ----------------------------------------------------------------------------------------------------

    @property
    def result(self) -> ir.Value:
        """The value that this node produces: that of the activation that was fused into it, if there is one."""
        return (self.activation or self.node).outputs[0]

    def output(self, layout: Layout, index: int = 0) -> Tensor:
        """Creates and places the tensor of an output."""
        value = self.result if index == 0 else self.node.outputs[index]
        parameters = self.parameters(value)
        dtype = parameters.dtype if parameters is not None else type_of(value)
        tensor = self.builder.tensor(value.name or "", stored_shape(shape_of(value), layout), dtype, parameters)
        self.lowering.place(value, tensor, layout, self.form)
        return tensor

    def alias(self, tensor: Tensor, layout: Layout, index: int = 0) -> None:
        """Records that an output is held by the existing `tensor`."""
        self.lowering.place(self.node.outputs[index], tensor, layout, self.form)

    def emit(self, name: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor], options: Any = None) -> None:
        """Appends an operator, between CASTs if its kernel does not support the type (see `kernels`)."""
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
        """Casts a tensor to another type; constants are converted directly."""
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
        """Creates an intermediate tensor of this node with the type and parameters of another."""
        name = f"{self.node.name}/{suffix}"
        return self.builder.tensor(name, like.shape if shape is None else shape, like.dtype, like.quantization)

    def real_constant(self, array: npt.ArrayLike, name: str) -> Tensor:
        """Creates a float32 constant of this node."""
        return self.builder.constant(f"{self.node.name}/{name}", np.asarray(array, np.float32))

    def gathered(self, tensor: Tensor, place: int, index: Array, suffix: str) -> Tensor:
        """Gathers the elements `index` of a tensor along a stored dimension."""
        result = self.temporary(tensor, (*tensor.shape[:place], len(index), *tensor.shape[place + 1 :]), suffix)
        options = schema.GatherOptionsT()
        options.axis = place
        self.emit("GATHER", [tensor, self.lowering.integers(index.tolist(), "indices")], [result], options)
        return result

    # --- fused activations ------------------------------------------------------------------------------------------

    def fuse_activation(self) -> int:
        """Fuses the Relu or Clip that follows into this node if TFLite can; call it before `output`.

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
