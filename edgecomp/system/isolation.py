"""Runs a function in a separate interpreter, so that native code that aborts cannot take edgecomp with it.

The function is named `package.module:function`. Arguments and result are plain JSON data; larger data go through files.
Its output is kept for the error message, and not shown.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from edgecomp import errors

_CURE = "report this with the model, or leave this format out with --formats"
#: Seconds between checks for cancellation.
_PULSE = 0.2


def run_isolated(
    function: str,
    /,
    *,
    subject: str,
    timeout: float | None = None,
    cancel: threading.Event | None = None,
    **arguments: Any,
) -> Any:
    """Calls `function(**arguments)` in a fresh interpreter and returns what it returns.

    The interpreter does not outlive this call, however it ends.

    Args:
        function: "package.module:function".
        subject: What the work is about, for the error message.
        timeout: Seconds to wait, or None for ever.
        cancel: Stops the work when another thread sets it.
        **arguments: JSON data.

    Raises:
        ConversionError: The interpreter crashed, raised something unforeseen, or took too long.
        EdgecompError: The function raised it; it arrives here as it was.
        CancelledError: `cancel` was set.
    """
    with tempfile.TemporaryDirectory(prefix="edgecomp-") as name:
        folder = Path(name)
        (folder / "arguments.json").write_text(json.dumps(arguments), encoding="utf-8")
        # -P: a `json.py` in the working directory is not ours to import.
        command = [sys.executable, "-P", "-m", "edgecomp.system.isolation", function, name]
        # The child must find the same edgecomp, also when it was put on the path by hand.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        ) as process:
            try:
                output = _wait(process, subject, timeout, cancel)
            finally:
                process.kill()  # does nothing to a process that has ended
                process.wait()
        answer = folder / "answer.json"
        if not answer.exists():
            raise errors.ConversionError(
                subject,
                expected="native code that returns or reports an error",
                actual=f"it ended with {_describe_exit(process.returncode)}; its last words: {_tail(output)}",
                cure=_CURE,
            )
        return _result(json.loads(answer.read_text(encoding="utf-8")), subject)


def _result(reply: dict[str, Any], subject: str) -> Any:
    """What the child's answer holds, returned or raised."""
    if "raised" in reply:
        raise errors.ConversionError(
            subject,
            expected="an answer, or an error that says what is wrong",
            actual=f"it raised {reply['raised']}",
            cure=_CURE,
        )
    if "error" in reply:
        kind = getattr(errors, reply["error"])
        raise kind(reply["subject"], expected=reply["expected"], actual=reply["actual"], cure=reply["cure"])
    return reply["result"]


def _wait(
    process: subprocess.Popen[bytes], subject: str, timeout: float | None, cancel: threading.Event | None
) -> bytes:
    """What the process printed until it ended."""
    start = time.monotonic()
    while True:
        try:
            return process.communicate(timeout=_PULSE)[0]
        except subprocess.TimeoutExpired:
            if cancel is not None and cancel.is_set():
                raise CancelledError from None
            if timeout is not None and time.monotonic() - start > timeout:
                raise errors.ConversionError(
                    subject,
                    expected=f"an answer within {timeout:g} s",
                    actual="none; the process was stopped",
                    cure=_CURE,
                ) from None


def _describe_exit(code: int) -> str:
    if code < 0:
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"exit code {code}"


def _tail(output: bytes, lines: int = 5) -> str:
    text = output.decode("utf-8", "replace").strip()
    return " | ".join(text.splitlines()[-lines:]) or "none"


def _main(function: str, folder: str) -> int:
    """The child's side: writes the result, or the edgecomp error that was raised, to `answer.json`."""
    module, _, name = function.partition(":")
    arguments = json.loads(Path(folder, "arguments.json").read_text(encoding="utf-8"))
    try:
        answer = json.dumps({"result": getattr(importlib.import_module(module), name)(**arguments)})
    except errors.EdgecompError as error:
        answer = json.dumps(error.as_dict())
    except Exception as error:
        traceback.print_exc()
        answer = json.dumps({"raised": " ".join(f"{type(error).__name__}: {error}".split())})
    # Whole or not at all: the process may be stopped while it writes.
    partial = Path(folder, "answer.partial")
    partial.write_text(answer, encoding="utf-8")
    partial.replace(Path(folder, "answer.json"))
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
