"""A graph as ONNX's message without its large weights, and as a file with them; neither holds them a second time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.message import write_message
from edgecomp.graph.stored_weights import LARGE, PLAIN, StoredWeights

#: The file that the weights of a split message are said to lie in.
ELSEWHERE = "memory"


def save_graph(model: ir.Model, path: Path, adjust: Callable[[onnx.ModelProto], None] | None = None) -> None:
    """Writes an `.onnx` file; the same graph gives the same bytes.

    Args:
        model: Comes back as it was.
        path: The path of the file.
        adjust: Changes the message, in which large weights are not, before it is written.
    """
    weights = StoredWeights()
    with _elsewhere(_large_weights(model.graph)) as arrays:
        proto = ir.to_proto(model)
    for tensor in proto.graph.initializer:
        if tensor.name in arrays:
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = weights.store(arrays[tensor.name].reshape(-1).view(np.uint8))
    if adjust is not None:
        adjust(proto)
    write_message(proto, weights, path)


def split_message(model: ir.Model) -> tuple[bytes, dict[str, Array]]:
    """A graph as ONNX's message, and the large weights, of which that says that they lie in a file.

    Returns:
        The message, and name -> the weight in the memory that the graph has it in.
    """
    with _elsewhere(_large_weights(model.graph)) as arrays:
        return ir.to_proto(model).SerializeToString(), arrays


def _large_weights(graph: ir.Graph) -> list[ir.Value]:
    return [
        value
        for value in graph.initializers.values()
        if (tensor := value.const_value) is not None
        and tensor.nbytes > LARGE
        and tensor.dtype in PLAIN
        # ONNX Runtime drops the others, and with a branch that it never takes what is read there; it misses them then.
        and any(use.node.graph is graph for use in value.uses())
        and not (value.is_graph_input() or value.is_graph_output())
    ]


@contextlib.contextmanager
def _elsewhere(weights: Sequence[ir.Value]) -> Iterator[dict[str, Array]]:
    """Within the block, weights say that they lie in a file; gives what they hold."""
    tensors = [value.const_value for value in weights]
    for value, tensor in zip(weights, tensors, strict=True):
        assert tensor is not None, "a weight has numbers"
        value.const_value = ir.ExternalTensor(
            ELSEWHERE, 0, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.numpy().shape), name=value.name or ""
        )
    try:
        yield {
            value.name or "": np.ascontiguousarray(tensor.numpy())
            for value, tensor in zip(weights, tensors, strict=True)
            if tensor is not None
        }
    finally:
        for value, tensor in zip(weights, tensors, strict=True):
            value.const_value = tensor
