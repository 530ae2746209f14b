"""What every command shares: answers and errors for people and machines, progress, and options."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from edgecomp.errors import EdgecompError, OutputError, PromiseError
from edgecomp.progress import Progress as Report
from edgecomp.system.quiet import redirected

Parameters = ParamSpec("Parameters")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")]


@dataclass(frozen=True)
class Answer:
    """What a command gives.

    Attributes:
        document: For `--json`.
        show: Prints the same for people.
        exit_code: 1 when a promise turned out to be broken.
    """

    document: Any
    show: Callable[[Console], None]
    exit_code: int = 0


def command(function: Callable[Parameters, Answer]) -> Callable[Parameters, None]:
    """Prints a command's answer, or one clear error, and gives the exit code.

    The exit code is 2 for bad input, 1 for a broken promise, 130 for Ctrl-C. The function must have the parameters
    `as_json` and `debug`.
    """

    @functools.wraps(function)
    def wrapper(*arguments: Parameters.args, **options: Parameters.kwargs) -> None:
        as_json = bool(options.get("as_json"))
        try:
            with _stdout_kept_clean() if as_json else contextlib.nullcontext():
                answer = function(*arguments, **options)
            _print(answer, as_json=as_json)
        except EdgecompError as error:
            _fail(error, as_json=as_json, debug=bool(options.get("debug")))
        except KeyboardInterrupt:
            if as_json:
                print_json({"error": "Interrupted"})
            stderr().print("interrupted: nothing was written")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            _discard_output()  # its reader went away, as in `edgecomp targets | head`
        except Exception as error:
            unforeseen = PromiseError(
                "edgecomp",
                expected="no internal error",
                actual=f"{type(error).__name__}: {error}",
                cure="run the same with --debug, and report what it shows",
            )
            _fail(unforeseen, as_json=as_json, debug=bool(options.get("debug")))
        else:
            if answer.exit_code:
                raise typer.Exit(answer.exit_code)

    return wrapper


def _print(answer: Answer, *, as_json: bool) -> None:
    """Prints an answer.

    Raises:
        BrokenPipeError: The reader went away.
        OutputError: Nothing can be written, as on a full disk.
    """
    try:
        if as_json:
            print_json(answer.document)
        else:
            answer.show(stdout())
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        raise OutputError(
            "standard output",
            expected="a place to write to; what the command does is done",
            actual=error.strerror or str(error),
            cure="free some space, or send the output elsewhere",
        ) from None


def _discard_output() -> None:
    """Leaves nothing for Python to flush at exit, where it would complain once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: EdgecompError, *, as_json: bool, debug: bool) -> None:
    if as_json:
        print_json(error.as_dict())
    if debug:
        traceback.print_exc()
    say(stderr(), f"error: {error}")
    raise typer.Exit(error.exit_code) from None


@contextlib.contextmanager
def _stdout_kept_clean() -> Iterator[None]:
    """Sends what task files and native code print to stdout to stderr."""
    with redirected(1, 2), contextlib.redirect_stdout(sys.stderr):
        yield


def collect_garbage_rarely() -> None:
    """Lets Python's collector look through all objects after many new ones, for this process.

    Graphs are hundreds of thousands of objects that stay. With Python's defaults they are looked through again and
    again while more are made, a quarter of the time that 5,000 nodes take, and more with every node.
    """
    gc.set_threshold(50_000, 20, 100)


def stdout() -> Console:
    """The console for results."""
    return _console(stderr=False)


def stderr() -> Console:
    """The console for progress, notes and errors."""
    return _console(stderr=True)


class _Console(Console):
    """Leaves it to `command` what becomes of a reader that went away; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    console = _Console(stderr=stderr, highlight=False)
    if not console.width or (not console.is_terminal and "COLUMNS" not in os.environ):
        console.width = 160  # a file is as wide as its lines, and so is a terminal that claims to have no columns
    return console


def say(console: Console, *lines: str) -> None:
    """Prints lines as they are: brackets are no markup, and long lines are the terminal's to wrap."""
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def table(*headings: str) -> Table:
    """A table without frames: readable at 80 columns and in a file. The headings that start with > align right."""
    made = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    for heading in headings:
        made.add_column(heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left")
    return made


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def progress_bar() -> Iterator[Report]:
    """A progress bar on stderr while a person is watching; gives the callback that moves it."""
    console = stderr()
    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def move(stage: str, done: int, total: int, note: str = "", /) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, note="")
            bar.update(tasks[stage], completed=done, total=total, note=note)

        yield move


def samples(count: int) -> str:
    """A number of samples in words."""
    return f"{count} sample{'' if count == 1 else 's'}"


def default_folder(source: str, *suffix: str) -> Path:
    """Where a result goes when `-o` does not say: named after the task file, the function or the model file."""
    name = Path(source.rpartition(":")[2]).stem
    return Path("dist") / "-".join((name, *suffix))
