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

#: Bytes of a weight that is worth a place outside its file.
_HUGE = 1 << 20


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


def save_beside(model: ir.Model, path: Path) -> None:
    """Writes an `.onnx` file and, as external data, `PATH.data`: who reads it need not hold large weights twice.

    Args:
        model: Comes back as it was.
        path: The path of the file.
    """
    data = path.with_name(f"{path.name}.data")
    weights = [value for value in _large_weights(model.graph, _HUGE) if _is_plain_weight(value)]
    with _elsewhere(weights) as arrays:
        proto = ir.to_proto(model)
    with data.open("wb") as stream:
        for tensor in proto.graph.initializer:
            if (array := arrays.get(tensor.name)) is not None:
                place = {"location": data.name, "offset": stream.tell(), "length": array.nbytes}
                del tensor.external_data[:]
                for key, entry in place.items():
                    tensor.external_data.add(key=key, value=str(entry))
                stream.write(array.data)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _is_plain_weight(value: ir.Value) -> bool:
    """Whether it has float32 numbers, and nothing inside a loop or branch reads it."""
    tensor = value.const_value
    assert tensor is not None, "a weight has numbers"
    return tensor.dtype == ir.DataType.FLOAT and all(use.node.graph is value.graph for use in value.uses())


def split_message(model: ir.Model) -> tuple[bytes, dict[str, Array]]:
    """A graph as ONNX's message, and the large weights, of which that says that they lie in a file.

    Returns:
        The message, and name -> the weight in the memory that the graph has it in.
    """
    with _elsewhere(_large_weights(model.graph)) as arrays:
        return ir.to_proto(model).SerializeToString(), arrays


def _large_weights(graph: ir.Graph, above: int = LARGE) -> list[ir.Value]:
    return [
        value
        for value in graph.initializers.values()
        if (tensor := value.const_value) is not None
        and tensor.nbytes > above
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
