"""What the tables of operators have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

#: Tensors in, one tensor or several out; inputs that a node leaves out are None.
Function = Callable[..., Any]

#: A node -> what it computes.
Build = Callable[[ir.Node], Function]


class UnsupportedError(Exception):
    """A node has a form that its operator's function does not know; the text says which."""


def plain(function: Function) -> Build:
    """An operator without attributes."""
    return lambda node: function


def numbers(tensor: torch.Tensor) -> list[int]:
    """A tensor of whole numbers as a list."""
    return [int(number) for number in tensor.reshape(-1).tolist()]


def ints(node: ir.Node, name: str, default: list[int]) -> list[int]:
    """An attribute of whole numbers."""
    found = node.attributes.get_ints(name, None)
    return default if found is None else list(found)


#: ONNX's number types in torch.
TORCH_TYPES: dict[ir.DataType, torch.dtype] = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.DOUBLE: torch.float64,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.INT64: torch.int64,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT8: torch.int8,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.BOOL: torch.bool,
}


def to_tensor(array: Any) -> torch.Tensor:
    """A numpy array of any layout as a tensor of its own."""
    return torch.from_numpy(np.array(array))
