"""Every error that edgecomp raises on purpose.

    EdgecompError
    ├── InputError                    exit code 2: what the user gave cannot be used
    │   ├── SettingError              a setting of a step with a value that cannot be
    │   ├── SourceError               a task file, module, model file or recipe
    │   ├── ExportError               a torch module that does not become a graph
    │   ├── DataError                 calibration, training or evaluation data
    │   ├── TrainingError             training that cannot begin or go on
    │   ├── UnknownShapeError         a tensor whose shape is known only when the model runs
    │   ├── UnsupportedOperatorError  an operator that a format cannot express
    │   ├── UnknownTargetError        a target name that no profile carries
    │   ├── OutputError               a place where nothing can be written
    │   ├── DeviceError               a device that cannot be reached or used
    │   │   └── NoPythonError         a device that was reached, and has no Python that is new enough
    │   └── MissingToolchainError     a Python package that is not installed
    └── PromiseError                  exit code 1: edgecomp could not keep its word
        ├── ConversionError           a converter failed or its toolchain crashed
        ├── BudgetError               no choice of layers keeps what was asked for
        ├── LinkError                 the connection to a device was lost while it worked
        ├── UpdateError               a release that cannot be downloaded, or must not be trusted
        └── VerificationError         an artifact does not agree with the original

A message has four parts: the subject (what it is about), what was expected, what was found, and the cure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class EdgecompError(Exception):
    """Base class of all errors raised on purpose.

    Args:
        subject: The thing that the error is about, named as the user named it: a path, a node, a target.
        expected: What would have been right.
        actual: What was found instead.
        cure: What the user can do about it, as an imperative sentence.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, subject: str, *, expected: str, actual: str, cure: str) -> None:
        super().__init__(subject, expected, actual, cure)
        self.subject = subject
        self.expected = expected
        self.actual = actual
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.subject}\n  expected: {self.expected}\n  actual:   {self.actual}\n  cure:     {self.cure}"

    def as_dict(self) -> dict[str, str]:
        """The same message for machines, as `--json` prints it."""
        return {
            "error": type(self).__name__,
            "subject": self.subject,
            "expected": self.expected,
            "actual": self.actual,
            "cure": self.cure,
        }


class InputError(EdgecompError):
    """What the user gave cannot be used."""

    exit_code = 2


class SettingError(InputError):
    """A setting of a step with a value that cannot be.

    Args:
        subject: The step.
        setting: The setting's name.
        expected: What it should be.
        actual: What it is.
        cure: What to do about it.
    """

    def __init__(self, subject: str, *, expected: str, actual: str, cure: str, setting: str = "") -> None:
        super().__init__(subject, expected=expected, actual=actual, cure=cure)
        self.setting = setting


class SourceError(InputError):
    """A task file, module, model file or recipe that cannot be used."""


class ExportError(InputError):
    """A torch module that does not become a graph, or a graph that does not compute what the module does."""


class DataError(InputError):
    """Calibration, training or evaluation data that cannot be used."""


class TrainingError(InputError):
    """Training that cannot begin or go on: a loss that is no number, or that depends on no weight."""


class UnsupportedOperatorError(InputError):
    """An operator that a format cannot express."""


class UnknownShapeError(InputError, ValueError):
    """A tensor whose shape is known only when the model runs."""


class UnknownTargetError(InputError):
    """A target name that no profile carries."""


class OutputError(InputError):
    """A place where nothing can be written."""


class DeviceError(InputError):
    """A device that cannot be reached or used."""


class NoPythonError(DeviceError):
    """A device that was reached, and has no Python that is new enough for the agent."""


class MissingToolchainError(InputError):
    """A Python package that is needed for this work and is not installed."""


class PromiseError(EdgecompError):
    """edgecomp could not keep its word."""


class ConversionError(PromiseError):
    """A converter failed, or the toolchain behind it crashed."""


class LinkError(PromiseError):
    """The connection to a device was lost while it worked."""


class BudgetError(PromiseError):
    """No choice of layers keeps what was asked for."""


class UpdateError(PromiseError):
    """A release that cannot be downloaded, or must not be trusted."""


class VerificationError(PromiseError):
    """An artifact does not agree with the original model."""


def correction(word: object, known: Iterable[str], otherwise: str = "correct it") -> str:
    """The cure for a word that is not known: the nearest of those that are, if any is near.

    Args:
        word: What the user wrote.
        known: What could have been meant.
        otherwise: The cure when nothing is near.
    """
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return f"write {near[0]}" if near else otherwise
