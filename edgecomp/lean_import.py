"""Imports onnx_ir without sympy, which takes longer to load than everything else in a conversion.

onnx_ir imports sympy immediately but only uses it for symbolic sizes, which few graphs have. So while onnx_ir is
imported, sympy and the one module of onnx_ir that accesses it immediately are replaced by stand-ins, which load the
real module on first use. Only onnx_ir sees them; `import sympy` gives sympy everywhere.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

_PACKAGE = "onnx_ir"
_LATER = ("sympy", "onnx_ir._symbolic_shapes")


def defer_sympy() -> None:
    """Lets the next import of onnx_ir, from anywhere, do without sympy."""
    sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds onnx_ir alone; with sympy loaded already there is nothing to gain."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _PACKAGE or any(name in sys.modules for name in _LATER):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Loads onnx_ir while the stand-ins are there."""

    def exec_module(self, module: ModuleType) -> None:
        stand_ins = {name: _StandIn(name) for name in _LATER}
        sys.modules.update(stand_ins)
        try:
            super().exec_module(module)
        finally:
            for stand_in in stand_ins.values():
                stand_in.leave()


class _StandIn(ModuleType):
    """Loads the real module when an attribute is first accessed."""

    def __getattr__(self, name: str) -> Any:
        self.leave()
        return getattr(importlib.import_module(self.__name__), name)

    def leave(self) -> None:
        """Makes room for the module itself."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
