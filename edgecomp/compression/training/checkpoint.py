"""Saves and loads the state of a training run: a file with tensors and numbers, which is never unpickled."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from edgecomp.errors import OutputError


class Checkpoint:
    """The state of one run.

    Args:
        path: A file whose name identifies the run; its content is not checked against the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[str, Any] | None:
        """Returns the last saved state; None if there is none, or it is damaged."""
        with contextlib.suppress(OSError, RuntimeError, pickle.UnpicklingError, EOFError):
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            return state
        return None

    def save(self, state: dict[str, Any]) -> None:
        """Replaces the saved state; a program that is killed while saving leaves the former one.

        Raises:
            OutputError: The disk is full, or the folder cannot be written.
        """
        unfinished = self.path.with_suffix(".unfinished")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, unfinished)
            os.replace(unfinished, self.path)
        except (OSError, RuntimeError) as error:
            raise OutputError(
                str(self.path),
                expected="a place for the state of the training",
                actual=str(error),
                cure="make room there, or choose another place with -o",
            ) from error
