"""Types and helpers that the operator tables share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

#: Takes tensors, returns one tensor or several; inputs that a node leaves out are None.
Function = Callable[..., Any]

#: A node -> the function that computes it.
Build = Callable[[ir.Node], Function]


class UnsupportedError(Exception):
    """A node has a form that its operator's function does not support; the message says which."""


def plain(function: Function) -> Build:
    """Builds an operator without attributes."""
    return lambda node: function


def numbers(tensor: torch.Tensor) -> list[int]:
    """Converts a tensor of integers to a list."""
    return [int(number) for number in tensor.reshape(-1).tolist()]


def ints(node: ir.Node, name: str, default: list[int]) -> list[int]:
    """Returns a list attribute of integers."""
    found = node.attributes.get_ints(name, None)
    return default if found is None else list(found)


#: The torch dtypes of ONNX's data types.
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
    """Copies a numpy array of any layout to a tensor."""
    return torch.from_numpy(np.array(array))
