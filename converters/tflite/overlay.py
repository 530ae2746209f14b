"""Overlays the TFLite graphs of several sizes, and returns one graph with dynamic dimensions.

1. A dimension of a tensor that differs is -1 in its signature. The static shapes of inputs and outputs are those of the
   example; of other tensors such a dimension is 1, as TensorFlow writes it, because the runtime computes it again.
2. A RESHAPE leaves one of the differing sizes to the runtime (-1).
3. Any other integer constant that differs is computed from the shapes of tensors.
4. Anything else that differs is not supported: the caller has to fix a dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.builder import Border, Builder, Operator, Subgraph, Tensor
from edgecomp.converters.tflite.layout import identity, stored_shape
from edgecomp.converters.tflite.static_graph import Lowered
from edgecomp.graph.freedom import NotGeneralError
from edgecomp.graph.query import shape_of
from edgecomp.graph.size_vectors import Arithmetic, SizeVectors
from edgecomp.graph.sizes import Expression, Numbers, explain, is_short, is_whole
from edgecomp.interface import TensorInterface
from edgecomp.model import CompressedModel

Place = tuple[Tensor, int]

_RESHAPE = schema.BuiltinOperator.RESHAPE


def overlay(variants: Sequence[Lowered], model: CompressedModel) -> Lowered:
    """Returns one graph for all sizes.

    Args:
        variants: The graphs of several sizes; the first one is changed.
        model: The model that they were made from, at its example sizes.

    Raises:
        NotGeneralError: By rule 4.
    """
    first, graph = variants[0], model.graph.graph
    example: dict[Tensor, tuple[int, ...]] = {}
    for values, borders, described in (
        (graph.inputs, first.inputs, first.interface.inputs),
        (graph.outputs, first.outputs, first.interface.outputs),
    ):
        for value, (_, tensor), each in zip(values, borders, described, strict=True):
            shape = shape_of(value)
            example[tensor] = stored_shape(shape, each.permutation or identity(len(shape)))
    if len({len(variant.builder.subgraphs) for variant in variants}) > 1:
        raise NotGeneralError("TFLite needs other subgraphs at another size")
    called = [
        _Overlay(subgraphs, first.builder).run()
        for subgraphs in zip(*(variant.builder.subgraphs for variant in variants), strict=True)
    ]
    main = _Overlay([variant.subgraph() for variant in variants], first.builder, example)
    subgraph = main.run()
    builder = Builder(first.builder)
    builder.operators, builder.subgraphs[:] = list(subgraph.operators), called
    return replace(
        first,
        builder=builder,
        inputs=tuple(subgraph.inputs),
        outputs=tuple(subgraph.outputs),
        interface=replace(
            first.interface,
            inputs=tuple(map(_loosened, first.interface.inputs, subgraph.inputs)),
            outputs=tuple(map(_loosened, first.interface.outputs, subgraph.outputs)),
        ),
    )


def _loosened(described: TensorInterface, border: Border) -> TensorInterface:
    signature = border[1].signature
    return described if signature is None else replace(described, shape=_loose(signature))


def _loose(signature: Sequence[int]) -> tuple[int | None, ...]:
    return tuple(None if size < 0 else size for size in signature)


class _Overlay(SizeVectors[Tensor]):
    """Overlays one subgraph."""

    def __init__(
        self,
        variants: Sequence[Subgraph],
        builder: Builder,
        example: Mapping[Tensor, tuple[int, ...]] | None = None,
    ) -> None:
        super().__init__()
        self._variants = variants
        self._builder = Builder(builder)
        self._example = example or {}
        #: The first graph's tensors -> the sizes of each dimension in all graphs.
        self._sizes: dict[Tensor, tuple[Numbers, ...]] = {}
        self._written: dict[Tensor, Tensor] = {}
        self._inputs: dict[Place, Numbers] = {}
        self._far: dict[Numbers, Place] = {}
        self._shapes: dict[Tensor, Tensor] = {}

    def run(self) -> Subgraph:
        """Builds the overlaid subgraph."""
        if len({len(each.operators) for each in self._variants}) > 1:
            raise NotGeneralError("TFLite needs other operators at another size")
        for borders in zip(*(each.inputs for each in self._variants), strict=True):
            self._learn([tensor for _, tensor in borders])
        self._inputs = {place: numbers for numbers, place in self._far.items()}
        for operators in zip(*(each.operators for each in self._variants), strict=True):
            self._operator(operators)
        first = self._variants[0]
        return replace(
            first,
            operators=self._builder.operators,
            inputs=tuple((name, self._now(tensor)) for name, tensor in first.inputs),
            outputs=tuple((name, self._now(tensor)) for name, tensor in first.outputs),
        )

    def _now(self, tensor: Tensor) -> Tensor:
        return self._written.get(tensor, tensor)

    def _learn(self, tensors: Sequence[Tensor]) -> None:
        """Applies rule 1."""
        first = tensors[0]
        if len({(len(tensor.shape), tensor.dtype) for tensor in tensors}) > 1:
            raise NotGeneralError(f"{first.name!r} has another rank at another size")
        sizes = self._sizes[first] = tuple(zip(*(tensor.shape for tensor in tensors), strict=True))
        if all(len(set(each)) == 1 for each in sizes):
            return
        for axis, numbers in enumerate(sizes):
            if len(set(numbers)) > 1:
                self._far.setdefault(numbers, (first, axis))
        signature = tuple(each[0] if len(set(each)) == 1 else -1 for each in sizes)
        shape = self._example.get(first, tuple(1 if size < 0 else size for size in signature))
        self._written[first] = replace(first, shape=shape, signature=signature)

    def _operator(self, operators: Sequence[Operator]) -> None:
        first = operators[0]
        target = first.outputs[0].name
        kinds = {(each.code, each.version, len(each.inputs), len(each.outputs)) for each in operators}
        if len(kinds) > 1:
            raise NotGeneralError(f"TFLite needs another operator for {target!r} at another size")
        options = first.options
        if first.code == _RESHAPE:
            options = schema.ReshapeOptionsT()  # the shape is an input as well
        elif any(vars(each.options or object) != vars(options or object) for each in operators[1:]):
            raise NotGeneralError(f"the options of the operator for {target!r} depend on the size")
        inputs = [self._input(operators, index) for index in range(len(first.inputs))]
        for tensors in zip(*(each.outputs for each in operators), strict=True):
            self._learn(tensors)
        outputs = tuple(map(self._now, first.outputs))
        self._builder.operators.append(replace(first, inputs=tuple(inputs), outputs=outputs, options=options))

    def _input(self, operators: Sequence[Operator], index: int) -> Tensor | None:
        tensors = [each.inputs[index] for each in operators]
        first = tensors[0]
        if first is None or first.data is None:
            return None if first is None else self._now(first)
        arrays = [tensor.data for tensor in tensors if tensor is not None and tensor.data is not None]
        like = arrays[0]
        if all(array.shape == like.shape and array.tobytes() == like.tobytes() for array in arrays):
            return first
        if first.quantization is not None or not is_short(arrays) or not is_whole(arrays):
            raise NotGeneralError(
                f"the constant {first.name!r} of {operators[0].outputs[0].name!r} depends on the size"
            )
        near = {
            (tensor, axis): numbers
            for tensor in operators[0].inputs
            if tensor in self._sizes
            for axis, numbers in enumerate(self._sizes[tensor])
        }
        numbers = [tuple(int(array.reshape(-1)[place]) for array in arrays) for place in range(like.size)]
        parts = [explain(each, near, self._inputs, self._far) for each in numbers]
        if operators[0].code == _RESHAPE:
            changing = [place for place, part in enumerate(parts) if part is None or part.places]
            rest = next((place for place in changing if parts[place] is None), changing[-1])
            parts[rest] = Expression((), 0, -1)
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            raise NotGeneralError(f"how a number for {operators[0].outputs[0].name!r} depends on the size is not clear")
        if not any(part.places for part in known):
            return self._builder.constant(first.name, np.array([part.addend for part in known], like.dtype))
        return self._shaped(self.vector(known), first)

    def _shaped(self, vector: Tensor, like: Tensor) -> Tensor:
        """Converts a computed vector to the type and rank of a constant."""
        if like.dtype != "int32":
            vector = self._emit("CAST", [vector], vector.shape, schema.CastOptionsT(), like.dtype)
        if like.shape != vector.shape:
            shape = self._builder.constant("shape", np.array(like.shape, np.int32))
            vector = self._emit("RESHAPE", [vector, shape], like.shape, schema.ReshapeOptionsT(), like.dtype)
        return vector

    # --- rule 3: how TFLite computes with sizes ---------------------------------------------------------------------

    def constant(self, numbers: Sequence[int]) -> Tensor:
        """Returns a constant."""
        return self._builder.constant("sizes", np.array(numbers, np.int32))

    def sizes(self, tensor: Tensor, axes: Sequence[int]) -> Tensor:
        """Emits SHAPE and GATHER."""
        if tensor not in self._shapes:
            options = schema.ShapeOptionsT()
            options.outType = schema.TensorType.INT32
            self._shapes[tensor] = self._emit("SHAPE", [self._now(tensor)], (len(tensor.shape),), options)
        if list(axes) == list(range(len(tensor.shape))):
            return self._shapes[tensor]
        return self._emit("GATHER", [self._shapes[tensor], self.constant(axes)], (len(axes),), schema.GatherOptionsT())

    def combine(self, name: Arithmetic, left: Tensor, right: Tensor) -> Tensor:
        """Emits MUL, ADD or FLOOR_DIV."""
        operator, options = {
            "Mul": ("MUL", schema.MulOptionsT),
            "Add": ("ADD", schema.AddOptionsT),
            "Div": ("FLOOR_DIV", schema.FloorDivOptionsT),
        }[name]
        return self._emit(operator, [left, right], (1,), options())

    def join(self, pieces: Sequence[Tensor], length: int) -> Tensor:
        """Emits CONCATENATION."""
        return self._emit("CONCATENATION", pieces, (length,), schema.ConcatenationOptionsT())

    def _emit(
        self, name: str, inputs: Sequence[Tensor], shape: Sequence[int], options: object, dtype: str = "int32"
    ) -> Tensor:
        result = self._builder.tensor(f"{inputs[0].name}/{name.lower()}", shape, dtype)
        self._builder.operator(name, inputs, [result], options)
        return result
