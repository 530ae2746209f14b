"""Runs a function in an interpreter of its own, so that native code that aborts cannot take edgecomp with it.

The function is named `package.module:function`; its arguments and its result are plain JSON data (larger things go
through files). What it prints is kept for the error message and shown to nobody else.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from edgecomp import errors


def run_isolated(function: str, /, *, subject: str, timeout: float | None = None, **arguments: Any) -> Any:
    """Calls `function(**arguments)` in a fresh interpreter and returns what it returns.

    Args:
        function: "package.module:function".
        subject: What the work is about, for the error message.
        timeout: Seconds to wait, or None for ever.
        **arguments: JSON data.

    Raises:
        ConversionError: The interpreter crashed, raised something unforeseen, or took too long.
        EdgecompError: The function raised it; it arrives here as it was.
    """
    with tempfile.TemporaryDirectory(prefix="edgecomp-") as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "edgecomp.isolation", function, json.dumps(arguments), str(answer)]
        try:
            process = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
                # The child must find the same edgecomp, also when it was put on the path by hand.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
            )
        except subprocess.TimeoutExpired:
            raise errors.ConversionError(
                subject,
                expected=f"an answer within {timeout:g} s",
                actual="none; the process was stopped",
                cure="report this with the model, or leave this format out with --formats",
            ) from None
        reply = json.loads(answer.read_text()) if answer.exists() else None
    if reply is None:
        raise errors.ConversionError(
            subject,
            expected="native code that returns or reports an error",
            actual=f"it ended with {_describe_exit(process.returncode)}; its last words: {_tail(process.stdout)}",
            cure="report this with the model, or leave this format out with --formats",
        )
    if "error" in reply:
        kind = getattr(errors, reply["error"])
        raise kind(reply["subject"], expected=reply["expected"], actual=reply["actual"], cure=reply["cure"])
    return reply["result"]


def _describe_exit(code: int) -> str:
    if code < 0:
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"exit code {code}"


def _tail(output: bytes, lines: int = 5) -> str:
    text = output.decode("utf-8", "replace").strip()
    return " | ".join(text.splitlines()[-lines:]) or "none"


def _main(function: str, arguments: str, answer: str) -> int:
    """The child's side: writes the result, or the edgecomp error that was raised, to the file `answer`."""
    module, _, name = function.partition(":")
    reply: dict[str, Any]
    try:
        reply = {"result": getattr(importlib.import_module(module), name)(**json.loads(arguments))}
    except errors.EdgecompError as error:
        reply = error.as_dict()
    except Exception:
        traceback.print_exc()
        return 1
    partial = Path(answer).with_suffix(".partial")
    partial.write_text(json.dumps(reply))
    partial.replace(answer)
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
