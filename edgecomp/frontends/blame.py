"""Finds out which operator, module and line an exporter failed at, from the exceptions that it left."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

import torch
import torch.fx

from edgecomp.frontends.naming import unwrap

_TORCH = os.path.dirname(torch.__file__)


@dataclass(frozen=True)
class Blame:
    """Where an export failed; whatever could not be found out is empty.

    Attributes:
        operator: The torch operator: "aten::linalg_svd".
        module: The path of the innermost torch module.
        location: "file.py:12", a line of that module's forward.
        data_dependent: Whether a value was asked for that is known only when the model runs.
    """

    operator: str = ""
    module: str = ""
    location: str = ""
    data_dependent: bool = False


def blame(failures: Sequence[BaseException], names: Mapping[int, str]) -> Blame:
    """What the failures of all exporters say together.

    Args:
        failures: The exceptions, the TorchScript exporter's first.
        names: `id` of a module -> its path.
    """
    operator = module = location = ""
    data_dependent = False
    for error in (linked for failure in failures for linked in _chain(failure)):
        data_dependent = data_dependent or "DataDependent" in type(error).__name__
        # The TorchScript exporter names the operator that the user wrote, the other one what it was decomposed into.
        found = re.search(r"operator '?(?:with unrecognized namespace )?([\w]+::\w+)", str(error))
        operator = operator or (found.group(1) if found else "")
        location = location or getattr(error, "location", "")
        for frame in _frames(error):
            node, owner = frame.f_locals.get("node"), frame.f_locals.get("self")
            if isinstance(node, torch.fx.Node) and (stack := node.meta.get("nn_module_stack")):
                module = unwrap(str(list(stack.values())[-1][0]))
                operator = operator or str(node.target)
            elif isinstance(owner, torch.nn.Module) and id(owner) in names:
                module = module or names[id(owner)]
                # A line of the user's code says more than one inside torch.
                if not location and not frame.f_code.co_filename.startswith(_TORCH):
                    location = _line(error, frame)
    return Blame(operator, module, location, data_dependent)


def first_line(error: BaseException) -> str:
    """The first line of what went wrong at the bottom of a chain of exceptions."""
    *_, deepest = _chain(error)
    lines = [line.strip() for line in str(deepest).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(deepest).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def _frames(error: BaseException) -> Iterator[FrameType]:
    """The frames that an exception passed through, innermost first."""
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return reversed(frames)


def _line(error: BaseException, frame: FrameType) -> str:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame is not frame:
        traceback = traceback.tb_next
    number = traceback.tb_lineno if traceback is not None else frame.f_lineno
    return f"{frame.f_code.co_filename}:{number}"
