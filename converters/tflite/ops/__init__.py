"""Lowerings to TFLite: one small function per ONNX operator, grouped by purpose; each can be read on its own.

Every module in this folder has a table `LOWERINGS` and is found automatically.
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
