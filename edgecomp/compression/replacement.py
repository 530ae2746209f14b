"""Replaces submodules of a torch module."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def replace_modules(module: nn.Module, others: Mapping[nn.Module, nn.Module]) -> None:
    """Replaces submodules in place; one that is used in several places is replaced everywhere by the same module.

    Args:
        module: The module around them; it is not replaced itself.
        others: Submodule -> its replacement.
    """
    for parent in list(module.modules()):
        # named_children() skips the second place of a module that is used twice.
        for name, child in parent._modules.items():
            if child is not None and child in others:
                parent._modules[name] = others[child]
