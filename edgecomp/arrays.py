"""The array types of every signature that leaves dtype and shape open."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

#: Of any dtype and shape; the docstring of what takes or gives one says which.
Array = npt.NDArray[Any]
#: One for each input or output of a model, in its order.
Arrays = tuple[Array, ...]
