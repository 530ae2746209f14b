"""Decisions on sizes, which a trace may record: for fixed sizes they come out the same, whatever the data."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.jit._trace import TracerWarning

#: What makes a Python value of a tensor; in a trace, sizes are tensors too.
_CONVERSIONS = ("__bool__", "__float__", "__index__", "__int__", "item")
#: What depends on a tensor's own size.
_SIZES = ("__iter__", "__len__")

#: What gives a size, or a number that depends on nothing.
_SOURCES = frozenset({"aten::dim", "aten::numel", "aten::size", "prim::Constant"})


@contextlib.contextmanager
def decided_by_sizes() -> Iterator[None]:
    """Within the block, a trace warns of decisions on data only, and not of those on sizes."""
    own = {name: vars(torch.Tensor).get(name) for name in (*_CONVERSIONS, *_SIZES)}
    for name in own:
        setattr(torch.Tensor, name, _watched(getattr(torch.Tensor, name), always=name in _SIZES))
    try:
        yield
    finally:
        for name, method in own.items():
            if method is None:
                delattr(torch.Tensor, name)
            else:
                setattr(torch.Tensor, name, method)


def _watched(convert: Callable[[torch.Tensor], Any], *, always: bool) -> Callable[[torch.Tensor], Any]:
    def converted(tensor: torch.Tensor) -> Any:
        with warnings.catch_warnings(record=True) as recorded:
            warnings.simplefilter("always")
            is_size = torch._C._is_tracing() and (always or _is_size(tensor))
            result = convert(tensor)
        for warning in recorded:
            if not (is_size and issubclass(warning.category, TracerWarning)):
                warnings.warn(warning.message, stacklevel=2)  # about the caller, not about this line
        return result

    return converted


def _is_size(tensor: torch.Tensor) -> bool:
    """Whether a traced tensor is computed of sizes and constants alone."""
    traced: Any = torch._C._get_value_trace(tensor)  # type: ignore[attr-defined]  # the stubs lack it
    seen, left = set(), [traced]
    while left:
        node = left.pop().node()
        if node.kind() == "prim::Param":
            return False
        if node.kind() not in _SOURCES and node not in seen:
            seen.add(node)
            left.extend(node.inputs())
    return True
