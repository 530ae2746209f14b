"""Pairs of layers of student and teacher, and the projections that make their outputs comparable."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn import functional

from edgecomp.errors import InputError
from edgecomp.frontends.torch_module import preserving

Tensor = torch.Tensor

#: How to shrink the larger of two features, by its number of dimensions: images and volumes.
_POOLS: dict[int, Callable[..., Tensor]] = {4: functional.adaptive_avg_pool2d, 5: functional.adaptive_avg_pool3d}


class Pairs(nn.Module):
    """Layers of two modules whose outputs are compared.

    Args:
        names: "LAYER" for the same name in both, or "STUDENT_LAYER=TEACHER_LAYER".
        student: The module that learns.
        teacher: The module that it learns from.
        inputs: Example inputs, to find the features' shapes.
        project: Whether to project the student's features to the teacher's number of channels: by a 1x1 convolution for
            features of shape (N, channels, ...) with 4 or 5 dimensions, by a linear layer over the last dimension for
            others. Projections are trained along, and are not part of the student.

    Raises:
        InputError: A layer does not exist, or does not give a tensor.
    """

    def __init__(
        self,
        names: Sequence[str],
        student: nn.Module,
        teacher: nn.Module,
        inputs: Sequence[Tensor],
        *,
        project: bool,
    ) -> None:
        super().__init__()
        halves = [(name.partition("=")[0], name.partition("=")[2] or name) for name in names]
        self._own = [_layer(student, own, "the student") for own, _ in halves]
        self._taught = [_layer(teacher, other, "the teacher") for _, other in halves]
        found = []
        for module, layers in ((student, self._own), (teacher, self._taught)):
            with preserving(module), torch.no_grad(), watching(module, layers) as seen:
                module(*inputs)
            found.append([seen.get(layer) for layer in layers])
        for name, own, wanted in zip(names, *found, strict=True):
            if own is None or wanted is None or own.ndim != wanted.ndim:
                raise InputError(
                    f"distill: the layers {name}",
                    expected="layers that run, and give one tensor each, with the same number of dimensions",
                    actual="others",
                    cure="name layers in front of the point where both have features of the same kind",
                )
        channels = [(_channels(own), _channels(wanted), own.ndim) for own, wanted in zip(*found, strict=True)]
        self.projections = nn.ModuleList(
            _projection(*each) if project and each[0] != each[1] else nn.Identity() for each in channels
        )

    @contextmanager
    def watch(self, student: nn.Module, teacher: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Yields a list that is filled with one pair of features for each name when the block ends."""
        pairs: list[tuple[Tensor, Tensor]] = []
        with watching(student, self._own) as own, watching(teacher, self._taught) as taught:
            yield pairs
        for left, right, projection in zip(self._own, self._taught, self.projections, strict=True):
            feature, wanted = projection(own[left]), taught[right]
            if feature.ndim in _POOLS and feature.shape[2:] != wanted.shape[2:]:
                smaller = [min(pair) for pair in zip(feature.shape[2:], wanted.shape[2:], strict=True)]
                feature, wanted = (_POOLS[each.ndim](each, smaller) for each in (feature, wanted))
            pairs.append((feature, wanted))


@contextmanager
def watching(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Records the outputs of layers by name while the block runs."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        def hook(layer: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                seen[name] = output

        return hook

    with ExitStack() as hooks:
        for name in names:
            handle = module.get_submodule(name).register_forward_hook(keep(name))  # type: ignore[arg-type]
            hooks.callback(handle.remove)
        yield seen


def _layer(module: nn.Module, name: str, whose: str) -> str:
    known = [each for each, _ in module.named_modules() if each]
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
    raise InputError(
        f"distill: the layer {name!r} of {whose}",
        expected="the path of a module inside it",
        actual="there is none of that name",
        cure=f"use one such as {', '.join(near or known[:5])}",
    )


def _channels(feature: Tensor) -> int:
    return feature.shape[1] if feature.ndim in {4, 5} else feature.shape[-1]


def _projection(own: int, wanted: int, rank: int) -> nn.Module:
    kinds = {4: nn.Conv2d, 5: nn.Conv3d}
    return kinds[rank](own, wanted, 1) if rank in kinds else nn.Linear(own, wanted)
