"""A board on this machine: an `ssh` on the PATH that runs what it is given here, in a home of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Run = Callable[..., Result]

SSH = """#!/bin/sh
# The stand-in for ssh: the last argument is the command, as sshd gives it to the login shell.
for command; do :; done
{before}
HOME={home} TMPDIR={home}/tmp PATH={home}/bin:$PATH exec sh -c "$command"
"""


@dataclass(frozen=True)
class LoopbackBoard:
    """Where it keeps its things, and what its ssh does before it runs the command."""

    home: Path
    ssh: Path

    def before(self, shell: str) -> None:
        """Lets ssh do something first, such as fail."""
        self.ssh.write_text(SSH.format(before=shell, home=self.home))
        self.ssh.chmod(0o755)

    def program(self, name: str, text: str) -> None:
        """Puts a program on the board's PATH."""
        (self.home / "bin" / name).write_text(text)
        (self.home / "bin" / name).chmod(0o755)

    @property
    def jobs(self) -> list[Path]:
        """What runs there, or was left."""
        return list((self.home / ".cache/edgecomp").glob("job-*"))


def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackBoard:
    """A board, until the test ends."""
    home, programs = tmp_path / "home", tmp_path / "programs"
    for folder in (home / "bin", home / "tmp", programs):
        folder.mkdir(parents=True)
    found = LoopbackBoard(home, programs / "ssh")
    found.before("")
    found.program("python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return found


def bench_document(edgecomp: Run, folder: Path, *options: object, code: int = 0) -> Any:
    """What `edgecomp bench --json` prints; the exit code has to be `code`."""
    result = edgecomp("bench", folder, "--json", *options)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)
