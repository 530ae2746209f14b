"""`edgecomp.system.isolation.run_isolated` by forking: fresh interpreters for thousands of conversions take an hour."""

from __future__ import annotations

import importlib
import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from edgecomp import errors
from edgecomp.errors import ConversionError, EdgecompError

_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class _Failure:
    """An error of edgecomp, whose exceptions do not pickle."""

    fields: dict[str, str]


def use_in_mnn() -> None:
    """Lets MNN's converter run in forks of this process, which loads what they need."""
    import _tools  # noqa: F401
    import MNN  # noqa: F401

    from edgecomp.converters.mnn import attempt, toolchain, trial  # noqa: F401

    attempt.run_isolated = trial.run_isolated = run_forked


def run_forked(function: str, /, *, subject: str, timeout: float | None = None, **arguments: Any) -> Any:
    """Does what `run_isolated` does, with the same errors."""
    here, there = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_child, args=(there, function, arguments))
    process.start()
    there.close()
    try:
        if not here.poll(timeout):
            process.kill()
            raise ConversionError(subject, expected="an answer in time", actual="none", cure="report this")
        result = here.recv()
    except EOFError:
        process.join()
        ending = f"native code ended with exit code {process.exitcode}"
        raise ConversionError(subject, expected="native code that returns", actual=ending, cure="report this") from None
    finally:
        process.join()
    if isinstance(result, _Failure):
        fields = dict(result.fields)
        raise getattr(errors, fields.pop("error"))(fields.pop("subject"), **fields)
    return result


def _child(pipe: Connection, function: str, arguments: dict[str, Any]) -> None:
    module, _, name = function.partition(":")
    try:
        pipe.send(getattr(importlib.import_module(module), name)(**arguments))
    except EdgecompError as error:
        pipe.send(_Failure(error.as_dict()))
