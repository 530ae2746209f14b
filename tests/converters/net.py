"""Small ONNX graphs, written as one would say them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Array


@dataclass
class Feed:
    """How to make an array for an input.

    Attributes:
        shape: Its shape.
        dtype: float inputs are normally distributed, integer ones lie in [0, high).
        high: See `dtype`.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    high: int = 2

    def draw(self, rng: np.random.Generator) -> Array:
        if self.dtype == "float32":
            return (1.5 * rng.standard_normal(self.shape) + 0.2).astype(np.float32)
        return rng.integers(0, self.high, self.shape).astype(self.dtype)


@dataclass
class Net:
    """A graph in the making; every method returns the value that it adds.

    Attributes:
        prefix: In front of every name, so that several nets can be merged into one graph.
        opset: Of the default domain.
    """

    prefix: str = ""
    opset: int = 20
    feeds: list[Feed] = field(default_factory=list)
    inputs: list[ir.Value] = field(default_factory=list)
    outputs: list[ir.Value] = field(default_factory=list)
    nodes: list[ir.Node] = field(default_factory=list)
    constants: list[ir.Value] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(7)

    def input(self, *shape: int, dtype: str = "float32", high: int = 2) -> ir.Value:
        value = ir.Value(name=f"{self.prefix}in{len(self.inputs)}", shape=ir.Shape(shape))
        value.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
        self.inputs.append(value)
        self.feeds.append(Feed(shape, dtype, high))
        return value

    def image(self, *shape: int) -> ir.Value:
        """An input that an operator on images reads too: it lies as an image does, and it is quantized."""
        value = self.input(*(shape or (1, 4, 6, 8)))
        self.output(self.node("GlobalAveragePool", value))
        return value

    def constant(self, array: Any, dtype: str | None = None) -> ir.Value:
        array = np.asarray(array, dtype)
        if dtype is None and array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"{self.prefix}c{len(self.constants)}"
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name), shape=ir.Shape(array.shape))
        value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        self.constants.append(value)
        return value

    def weight(self, *shape: int) -> ir.Value:
        """Random numbers whose size differs from slice to slice, so that scales per channel differ."""
        sizes = np.linspace(0.5, 1.5, shape[0]).reshape(-1, *([1] * (len(shape) - 1)))
        return self.constant(self._rng.standard_normal(shape) * sizes / np.sqrt(np.prod(shape[1:]) or 1))

    def node(self, op_type: str, *inputs: Any, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        values = [self._value(given) for given in inputs]
        name = f"{self.prefix}n{len(self.nodes)}_{op_type}"
        node = ir.node(op_type, values, attributes, domain=domain, num_outputs=outputs, name=name)
        for index, value in enumerate(node.outputs):
            value.name = f"{name}.{index}"
        self.nodes.append(node)
        return node.outputs[0] if outputs == 1 else tuple(node.outputs)

    def output(self, *values: ir.Value) -> None:
        self.outputs.extend(values)

    def _value(self, given: Any) -> ir.Value | None:
        if given is None or isinstance(given, ir.Value):
            return given
        array = np.asarray(given)
        return self.constant(array.astype(np.int64) if array.dtype.kind == "i" else array)

    def model(self) -> ir.Model:
        return merged([self])


def merged(nets: Sequence[Net]) -> ir.Model:
    """One graph of several nets that know nothing of each other."""

    def every(part: str) -> list[Any]:
        return [item for net in nets for item in getattr(net, part)]

    graph = ir.Graph(
        every("inputs"),
        every("outputs"),
        nodes=every("nodes"),
        initializers=every("constants"),
        opset_imports={"": max(net.opset for net in nets), "com.microsoft": 1},
        name="main",
    )
    return ir.Model(graph, ir_version=9)
