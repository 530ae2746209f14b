"""What a graph requires of each of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class InputSpec:
    """What a graph requires of one input.

    Attributes:
        name: The input's name.
        dtype: numpy dtype name.
        shape: Batch included, dynamic dimensions at their example sizes.
        dynamic: The name of each dimension that is dynamic, None for those that are fixed; empty when all are.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    dynamic: tuple[str | None, ...] = ()

    @property
    def names(self) -> tuple[str | None, ...]:
        """The name of each dimension, None for those that are fixed."""
        return self.dynamic or (None,) * len(self.shape)

    @property
    def dimensions(self) -> tuple[int | str, ...]:
        """The size or the name of each dimension."""
        return tuple(size if name is None else name for size, name in zip(self.shape, self.names, strict=True))


def batch_size(inputs: Sequence[InputSpec]) -> int | None:
    """Returns how many samples the model takes at once; None if axis 0 does not count samples."""
    # A scalar input has no axis 0, and then no axis counts samples.
    leading = {spec.dimensions[0] if spec.shape else None for spec in inputs}
    if len(leading) != 1 or None in leading or leading & {size for spec in inputs for size in spec.dynamic[1:]}:
        return None
    return inputs[0].shape[0]
