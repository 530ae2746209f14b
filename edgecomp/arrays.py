"""Array types for signatures that leave dtype and shape open."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

#: An array of any dtype and shape; docstrings say which.
Array = npt.NDArray[Any]
#: One for each input or output of a model, in its order.
Arrays = tuple[Array, ...]
