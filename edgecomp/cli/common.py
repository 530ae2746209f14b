"""What every command shares: errors, `--json`, progress, and reading options."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from edgecomp.errors import EdgecompError, InputError

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")]
Shapes = Annotated[
    list[str] | None, typer.Option("--shape", metavar="NAME=1x3x224x224", help="Fix the shape of a dynamic input.")
]
IoDtype = Annotated[str, typer.Option(help="float32, or int8 for quantized inputs and outputs.")]
IoLayout = Annotated[str, typer.Option(help="nhwc, nchw or auto: how TFLite's image inputs and outputs lie.")]


def command(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """Turns errors into one clear message and an exit code: 2 for bad input, 1 for a broken promise, 130 for Ctrl-C.

    The function must have the parameters `as_json` and `debug`.
    """

    @functools.wraps(function)
    def wrapper(*arguments: Parameters.args, **options: Parameters.kwargs) -> Returned:
        try:
            return function(*arguments, **options)
        except EdgecompError as error:
            if options.get("debug"):
                raise
            if options.get("as_json"):
                print_json(error.as_dict())
            else:
                stderr().print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            if options.get("as_json"):
                print_json({"error": "Interrupted"})
            stderr().print("interrupted: nothing was written", highlight=False)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # The reader of our output went away (`edgecomp targets | head`); Python would complain once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None

    return wrapper


def stdout() -> Console:
    """The console for results."""
    return Console(highlight=False)


def stderr() -> Console:
    """The console for progress, notes and errors."""
    return Console(stderr=True)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")


@contextmanager
def progress_bar(*, hidden: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr while a person is watching; gives the callback that moves it."""
    console = stderr()
    columns = (TextColumn("{task.description:>10}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=hidden or not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def move(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield move


def parse_shapes(options: list[str] | None) -> dict[str, tuple[int, ...]] | None:
    """`NAME=1x3x224x224` options as a mapping.

    Raises:
        InputError: One is of another form.
    """
    shapes = {}
    for option in options or ():
        name, _, sizes = option.rpartition("=")
        try:
            shape = tuple(int(size) for size in sizes.split("x"))
        except ValueError:
            shape = ()
        if not name or not shape or min(shape) < 1:
            raise InputError(
                f"--shape {option}",
                expected="an input's name and positive sizes, such as image=1x3x224x224",
                actual=repr(option),
                cure="correct the option; `edgecomp inspect` lists the inputs",
            )
        shapes[name] = shape
    return shapes or None


def choose(option: str, value: str, allowed: tuple[str, ...]) -> Any:
    """An option with a fixed set of values.

    Raises:
        InputError: The value is none of them.
    """
    if value not in allowed:
        raise InputError(
            f"{option} {value}", expected=f"one of {', '.join(allowed)}", actual=repr(value), cure="choose from the list"
        )
    return value


def kilobytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def existing(path: Path) -> Path:
    """A path that must exist.

    Raises:
        InputError: It does not.
    """
    if not path.exists():
        raise InputError(str(path), expected="a file or folder", actual="no such file or folder", cure="check the path")
    return path
