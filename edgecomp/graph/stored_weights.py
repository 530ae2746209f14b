"""Weights that lie beside their message: protobuf would copy all of them with every call into ONNX's C++.

In the message, `raw_data` of such a tensor is a claim check of a few bytes, which is worth nothing elsewhere.
"""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from edgecomp.arrays import Array

#: Bytes. What is smaller may be an argument (axes, sizes, pads), and stays where it is.
LARGE = 1024

#: The data types that numpy holds as ONNX stores them.
PLAIN = frozenset({ir.DataType.from_numpy(np.dtype(code)) for code in "efdbBhHiIqQ?"})


class StoredWeights:
    """The data of the large tensors of one message, each in memory of its own."""

    def __init__(self) -> None:
        self._prefix = secrets.token_bytes(16)  # no file holds a claim check, by accident or on purpose
        self._data: list[npt.NDArray[np.uint8]] = []

    def store(self, data: npt.NDArray[np.uint8]) -> bytes:
        """Keeps a tensor's bytes; gives what takes their place in the message."""
        self._data.append(data)
        return self._prefix + (len(self._data) - 1).to_bytes(8, "little")

    def is_mentioned(self, content: bytes) -> bool:
        """Whether there is a claim check in a part of a message."""
        return self._prefix in content

    def claimed(self, claim: bytes) -> npt.NDArray[np.uint8]:
        """The bytes that a claim check is for."""
        return self._data[int.from_bytes(claim[len(self._prefix) :], "little")]

    def holds(self, tensor: onnx.TensorProto) -> bool:
        """Whether the numbers of a tensor are here, and not in the message."""
        return bool(tensor.raw_data.startswith(self._prefix))

    def numbers(self, tensor: onnx.TensorProto) -> Array:
        """A tensor's numbers, wherever they are.

        Raises:
            ValueError: There are not as many as its shape says.
            TypeError: There is no such data type.
        """
        if not self.holds(tensor):
            return onnx.numpy_helper.to_array(tensor)
        data, shape = self.claimed(tensor.raw_data), tuple(tensor.dims)
        numbers = data.view(ir.DataType(tensor.data_type).numpy())
        if min(shape, default=0) < 0 or math.prod(shape) != numbers.size:
            raise ValueError(f"{numbers.size} numbers")
        return numbers.reshape(shape)

    def return_unusual(self, tensors: Iterable[onnx.TensorProto]) -> None:
        """Puts back what numpy does not hold as it is stored: packed nibbles, floats of 8 bits."""
        for tensor in tensors:
            if self.holds(tensor) and tensor.data_type not in PLAIN:
                tensor.raw_data = self.claimed(tensor.raw_data).tobytes()

    @contextlib.contextmanager
    def checkable(self, tensors: Iterable[onnx.TensorProto]) -> Iterator[None]:
        """Within the block, claim checks are tensors of so many bytes, and no more, for ONNX's checker."""
        held = [(tensor, tensor.data_type, tuple(tensor.dims)) for tensor in tensors if self.holds(tensor)]
        for tensor, _, _ in held:
            tensor.data_type, tensor.dims[:] = onnx.TensorProto.UINT8, [len(tensor.raw_data)]
        try:
            yield
        finally:
            for tensor, data_type, shape in held:
                tensor.data_type, tensor.dims[:] = data_type, shape
