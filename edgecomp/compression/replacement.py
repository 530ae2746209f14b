"""Replaces submodules of a torch module."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def replace_modules(module: nn.Module, others: Mapping[nn.Module, nn.Module]) -> None:
    """Replaces parts of a module, in place; one that is used in several places is so afterwards.

    Args:
        module: Has the parts; it is not replaced itself.
        others: Part -> what comes in its place.
    """
    for parent in list(module.modules()):
        # named_children() leaves out the second place of a module that has two.
        for name, child in parent._modules.items():
            if child is not None and child in others:
                parent._modules[name] = others[child]
