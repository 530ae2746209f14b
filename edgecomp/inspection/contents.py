"""The graph of an artifact, the same for every format."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

#: Bytes of an element; of what is not listed, 4 bits in bytes of two among them, the size is not known.
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
    """What integers stand for: real = scale * (integer - zero_point).

    Attributes:
        scale: The scale of the whole tensor, or the first of its channels.
        zero_point: Likewise.
        channels: How many scales there are.
    """

    scale: float
    zero_point: int
    channels: int = 1


@dataclass(frozen=True)
class Tensor:
    """A tensor of an artifact.

    Attributes:
        name: As the artifact calls it.
        dtype: numpy dtype name, or the format's own word in lower case where numpy has none.
        shape: As stored; None where dynamic; None altogether when the artifact does not say.
        stored: Bytes in the file when it is a constant, 0 when it shares another's; None for an activation.
        quantization: When its integers stand for real numbers.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None = None
    stored: int | None = None
    quantization: Quantization | None = None

    @property
    def elements(self) -> int | None:
        """How many numbers it holds, dynamic dimensions taken as 1; None when nobody knows."""
        return None if self.shape is None else math.prod(1 if size is None else size for size in self.shape)

    @property
    def nbytes(self) -> int | None:
        """Bytes in memory, dynamic dimensions taken as 1; None when nobody knows."""
        width, elements = _WIDTHS.get(self.dtype), self.elements
        return None if width is None or elements is None else width * elements


@dataclass(frozen=True)
class Node:
    """An operator of an artifact.

    Attributes:
        op_type: As the format calls it.
        name: As the artifact calls it; where it has no names for nodes, that of the first output.
        precision: What it computes in: "int8", "int16x8", "dynamic-int8" (int8 weights, float activations), or the
            dtype of its output.
        inputs: Indices of tensors; None for an optional one that is left out.
        outputs: Indices of tensors.
        module: The path of the torch module that it came from, "" when nothing tells.
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
        tensors: What `nodes` refer to.
        nodes: In the order of execution.
        inputs: Indices of tensors.
        outputs: Indices of tensors.
        inner: The nodes of the bodies of loops and branches; they are counted and nothing else.
    """

    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    inner: tuple[Node, ...] = ()

    @cached_property
    def fixed(self) -> frozenset[int]:
        """The tensors that do not depend on the inputs: constants, and what is computed from nothing else."""
        known = {index for index, tensor in enumerate(self.tensors) if tensor.stored is not None}
        inputs = set(self.inputs)
        for node in self.nodes:
            if all(index is None or index in known for index in node.inputs):
                known.update(index for index in node.outputs if index not in inputs)
        return frozenset(known)

    def computing(self) -> Iterator[tuple[int, Node]]:
        """The nodes that depend on the inputs, with their place in `nodes`."""
        for position, node in enumerate(self.nodes):
            if any(index not in self.fixed for index in node.outputs):
                yield position, node

    def activations(self, node: Node) -> list[int]:
        """The inputs of a node that are no constants."""
        return [index for index in node.inputs if index is not None and index not in self.fixed]
