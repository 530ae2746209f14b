"""The graph of an artifact, the same for every format."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

#: Bytes of an element. The size of other dtypes is unknown, for example of two 4-bit values in a byte.
_WIDTHS = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "bfloat16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}

INTEGER_PRECISIONS = frozenset({"int8", "uint8", "int16x8"})
FLOAT_PRECISIONS = frozenset({"float32", "float16", "bfloat16", "float64", "dynamic-int8", "dynamic-int4"})


@dataclass(frozen=True)
class Quantization:
    """The meaning of a tensor's integers: real = scale * (integer - zero_point).

    Attributes:
        scale: The scale of the whole tensor, or of its first channel.
        zero_point: The zero point, likewise.
        channels: The number of scales.
    """

    scale: float
    zero_point: int
    channels: int = 1


@dataclass(frozen=True)
class Tensor:
    """A tensor of an artifact.

    Attributes:
        name: Its name in the artifact.
        dtype: numpy dtype name, or the format's own name in lower case if numpy has none.
        shape: As stored, None for dynamic dimensions; None if the artifact does not say.
        stored: Bytes of a constant in the file, 0 if it shares another's data; None for an activation.
        quantization: The parameters of quantized integers, or None.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None = None
    stored: int | None = None
    quantization: Quantization | None = None

    @property
    def elements(self) -> int | None:
        """The number of elements, with dynamic dimensions as 1; None if unknown."""
        return None if self.shape is None else math.prod(1 if size is None else size for size in self.shape)

    @property
    def nbytes(self) -> int | None:
        """Bytes in memory, with dynamic dimensions as 1; None if unknown."""
        width, elements = _WIDTHS.get(self.dtype), self.elements
        return None if width is None or elements is None else width * elements


@dataclass(frozen=True)
class Node:
    """An operator of an artifact.

    Attributes:
        op_type: The format's name of the operator.
        name: The node's name in the artifact, or that of its first output in formats without node names.
        precision: The precision that it computes in: "int8", "int16x8", "dynamic-int8" (int8 weights, float
            activations), or the dtype of its output.
        inputs: Indices of tensors; None for an optional input that is absent.
        outputs: Indices of tensors.
        module: The path of the torch module that it came from, "" if unknown.
    """

    op_type: str
    name: str
    precision: str
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    module: str = ""


@dataclass(frozen=True)
class Contents:
    """A graph.

    Attributes:
        tensors: The tensors that nodes refer to.
        nodes: In the order of execution.
        inputs: Indices of tensors.
        outputs: Indices of tensors.
        inner: The nodes in the bodies of loops and branches, which are only counted.
    """

    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    inner: tuple[Node, ...] = ()

    @cached_property
    def fixed(self) -> frozenset[int]:
        """The tensors that do not depend on the inputs: constants, and everything computed from them alone."""
        known = {index for index, tensor in enumerate(self.tensors) if tensor.stored is not None}
        inputs = set(self.inputs)
        for node in self.nodes:
            if all(index is None or index in known for index in node.inputs):
                known.update(index for index in node.outputs if index not in inputs)
        return frozenset(known)

    def computing(self) -> Iterator[tuple[int, Node]]:
        """Yields the nodes that depend on the inputs, with their index in `nodes`."""
        for position, node in enumerate(self.nodes):
            if any(index not in self.fixed for index in node.outputs):
                yield position, node

    def activations(self, node: Node) -> list[int]:
        """Returns the inputs of a node that are not constant."""
        return [index for index in node.inputs if index is not None and index not in self.fixed]
