"""Native code may do what it wants: the caller gets a result or one clear error."""

import os
import signal
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from liveness import is_alive

from edgecomp import errors
from edgecomp.system.isolation import run_isolated

HELPER = """
import os, sys, time
from edgecomp.errors import DataError

def double(number): print("chatter"); return {"twice": 2 * number}
def abort(): print("last words", flush=True); os.abort()
def leave(): sys.exit(3)
def fail(): raise ValueError("what went wrong")
def refuse(): raise DataError("the data", expected="this", actual="that", cure="change it")
def answer_badly(): return object()
def sleep(pid): open(pid, "w").write(str(os.getpid())); time.sleep(600)
def import_json(): import json; return json.__file__
def length(text): return len(text)
"""


@pytest.fixture(autouse=True)
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "isolation_helper.py").write_text(HELPER)
    monkeypatch.syspath_prepend(tmp_path)


def test_the_result_arrives_and_what_the_function_prints_does_not(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_isolated("isolation_helper:double", subject="work", number=21) == {"twice": 42}
    assert capfd.readouterr() == ("", "")


def test_arguments_may_be_larger_than_a_command_line() -> None:
    assert run_isolated("isolation_helper:length", subject="work", text="x" * 1_000_000) == 1_000_000


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("abort", "signal 6 (SIGABRT); its last words: last words"),
        ("leave", "exit code 3; its last words: none"),
        ("fail", "ValueError: what went wrong"),
        ("answer_badly", "not JSON serializable"),
    ],
)
def test_a_crash_becomes_a_conversion_error(function: str, words: str) -> None:
    with pytest.raises(errors.ConversionError) as caught:
        run_isolated(f"isolation_helper:{function}", subject="model.mnn")
    assert caught.value.subject == "model.mnn"
    assert words in caught.value.actual


def test_an_error_raised_on_purpose_arrives_as_it_was() -> None:
    with pytest.raises(errors.DataError) as caught:
        run_isolated("isolation_helper:refuse", subject="ignored")
    assert caught.value.as_dict() == {
        "error": "DataError",
        "subject": "the data",
        "expected": "this",
        "actual": "that",
        "cure": "change it",
    }


def test_a_process_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(errors.ConversionError, match="an answer within 3 s"):
        run_isolated("isolation_helper:sleep", subject="work", timeout=3, pid=str(pid))
    assert not is_alive(int(pid.read_text()))


def test_another_thread_can_cancel(tmp_path: Path) -> None:
    pid, cancel = tmp_path / "pid", threading.Event()

    def stop() -> None:
        while not pid.exists() or not pid.read_text():
            time.sleep(0.05)
        cancel.set()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(CancelledError):
        run_isolated("isolation_helper:sleep", subject="work", cancel=cancel, pid=str(pid))
    thread.join()
    assert not is_alive(int(pid.read_text()))


def test_an_interrupt_takes_the_process_along(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def interrupt() -> None:
        while not pid.exists() or not pid.read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_isolated("isolation_helper:sleep", subject="work", pid=str(pid))
    thread.join()
    assert not is_alive(int(pid.read_text()))


def test_the_working_directory_cannot_replace_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cwd"
    folder.mkdir()
    (folder / "json.py").write_text("raise RuntimeError('not me')")
    monkeypatch.chdir(folder)
    assert not run_isolated("isolation_helper:import_json", subject="work").startswith(str(folder))
