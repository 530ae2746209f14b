"""Decompositions of operators into simpler ones: one small function per ONNX operator, grouped by purpose.

Every module in this folder that has a table `DECOMPOSITIONS` is found automatically; see `graph.decompose`.
"""

from __future__ import annotations

import importlib
import pkgutil

from edgecomp.graph.decompositions.pieces import Decomposition

DECOMPOSITIONS: dict[str, Decomposition] = {}
for _module in pkgutil.iter_modules(__path__):
    _table = getattr(importlib.import_module(f"{__name__}.{_module.name}"), "DECOMPOSITIONS", {})
    assert not DECOMPOSITIONS.keys() & _table.keys(), f"{_module.name}: an operator has two entries"
    DECOMPOSITIONS |= _table
