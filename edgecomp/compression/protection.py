"""Layers that a user protects from a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import torch

from edgecomp.errors import InputError


def protector(module: torch.nn.Module, patterns: Sequence[str], subject: str) -> Callable[[str], bool]:
    """Returns a function that tells whether the layer at a path is protected.

    Args:
        module: The module with the layers.
        patterns: Paths of layers with weights, with * and ?.
        subject: The step, for the error message.

    Raises:
        InputError: No layer matches a pattern.
    """
    layers = dict.fromkeys(path.rpartition(".")[0] for path, _ in module.named_parameters())
    for pattern in patterns:
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            raise InputError(
                f"{subject}: protected = {pattern!r}",
                expected="the path of a layer with weights, with * and ?",
                actual=f"no such layer among {', '.join(list(layers)[:8])}{', ...' if len(layers) > 8 else ''}",
                cure="correct it",
            )
    return lambda path: any(fnmatchcase(path, pattern) for pattern in patterns)
