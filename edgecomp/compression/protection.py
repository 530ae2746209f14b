"""Layers that a user protects from a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import torch

from edgecomp.errors import InputError


def protector(
    module: torch.nn.Module, patterns: Sequence[str], subject: str, *, blocks: bool = False
) -> Callable[[str], bool]:
    """Returns a function that tells whether the layer at a path is protected.

    Args:
        module: The module with the layers.
        patterns: Paths of layers with weights, with * and ?.
        subject: The step, for the error message.
        blocks: Whether patterns name any modules, with weights of their own or not.

    Raises:
        InputError: No layer matches a pattern.
    """
    if blocks:
        kind, known = "module", [path for path, _ in module.named_modules() if path]
    else:
        owners = (path.rpartition(".")[0] for path, _ in module.named_parameters())
        kind, known = "layer with weights", list(dict.fromkeys(owners))
    for pattern in patterns:
        if not any(fnmatchcase(path, pattern) for path in known):
            raise InputError(
                f"{subject}: protected = {pattern!r}",
                expected=f"the path of a {kind}, with * and ?",
                actual=f"no such {kind} among {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}",
                cure="correct it",
            )
    return lambda path: any(fnmatchcase(path, pattern) for pattern in patterns)
