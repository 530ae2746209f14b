"""What native code prints goes where it is sent, whoever buffers it, and what was printed around it stays."""

from __future__ import annotations

import ctypes
import os
import sys
import warnings

import pytest

from edgecomp.system.quiet import quiet, redirected, silenced

LIBC = ctypes.CDLL(None)


def print_everywhere(words: str) -> None:
    print(words)
    print(words, file=sys.stderr)
    LIBC.printf(f"{words} from C\n".encode())  # buffered, for it is no terminal


def test_native_code_that_prints_to_stdout_can_be_sent_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(1, b"before\n")
    with redirected(1, 2):
        LIBC.printf(b"greetings\n")
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("before\nafter\n", "greetings\n")


def test_silence_ends_with_the_block(capfd: pytest.CaptureFixture[str]) -> None:
    LIBC.printf(b"before\n")
    with silenced():
        LIBC.printf(b"unheard\n")
        os.write(2, b"unheard\n")
    LIBC.printf(b"after\n")
    LIBC.fflush(None)
    assert capfd.readouterr() == ("before\nafter\n", "")


def test_quiet_keeps_warnings_for_its_caller(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet() as warned:
        print_everywhere("unheard")
        warnings.warn("heard", stacklevel=1)
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in warned] == ["heard"]


def test_an_error_leaves_the_descriptors_as_they_were(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="inside"), silenced():
        raise ValueError("inside")
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"
