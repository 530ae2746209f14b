"""One small function per ONNX operator, grouped by what the operators do; each can be read without the others.

A module in this folder has a table `LOWERINGS` and is found by being here.
"""

from __future__ import annotations

import importlib
import pkgutil

from edgecomp.converters.tflite.operation import LoweringFunction

LOWERINGS: dict[str, LoweringFunction] = {}
for _module in pkgutil.iter_modules(__path__):
    _table = getattr(importlib.import_module(f"{__name__}.{_module.name}"), "LOWERINGS", {})
    assert not LOWERINGS.keys() & _table.keys(), f"{_module.name}: an operator has two entries"
    LOWERINGS |= _table
