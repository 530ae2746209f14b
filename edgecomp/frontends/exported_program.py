"""Loads a `.pt2` file that `torch.export.save` wrote, without running anything that is in it.

`torch.export.load` trusts its file: it unpickles, loads compiled libraries, and evaluates the expressions of dynamic
shapes with sympy. So the archive is looked through first, and refused when

1. it holds anything but a program with its weights, constants and example inputs (compiled libraries, custom objects);
2. a weight or constant in it is a pickle;
3. a shape expression in it is more than symbols, numbers and arithmetic;

and the example inputs, which torch always pickles, are read with `weights_only` forced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgecomp.arrays import Array, Arrays
from edgecomp.errors import SourceError
from edgecomp.frontends import structure
from edgecomp.frontends.checks import check_outputs
from edgecomp.frontends.dynamic_shapes import Declared, resolve_declared, write_shapes
from edgecomp.frontends.source import Source
from edgecomp.frontends.torch_export import Job, export_program
from edgecomp.frontends.torch_module import (
    as_tensors,
    check_weights,
    export_notes,
    export_step,
    first_run,
    name_outputs,
    to_array,
)
from edgecomp.shapes import Shapes
from edgecomp.system.quiet import quiet

#: What an archive may hold, below its root folder.
_EXPECTED = re.compile(
    r"data/weights/(weight_\d+|\w+_weights_config\.json)"
    r"|data/constants/(tensor_\d+|\w+_constants_config\.json)"
    r"|data/sample_inputs/\w+\.pt|models/\w+\.json|extra/.*"
    r"|archive_format|archive_version|byteorder|\.data/.*"
)
#: Symbols, which begin with s or u, sympy's functions, which begin with a capital as no harmful builtin does, numbers
#: and arithmetic. No attributes, no strings but a symbol's name. Possessive, so that no file can make it backtrack.
_EXPRESSION = re.compile(
    r"(?:[su]\d++|'[su]\d++'|[A-Z]\w*+|[a-z]++=(?:True|False)|\d++(?:\.\d++)?|[-+*/%(),<>=&|~\s])*+"
)


def load_program(path: Path, *, shapes: Shapes | None = None) -> Source:
    """Loads an exported program with the shapes of the example inputs that are saved in it.

    Args:
        path: The `.pt2` file.
        shapes: Input name -> shape, for programs with dynamic dimensions.

    Raises:
        SourceError: The file is damaged, holds code, or the program cannot be used.
        ExportError: The program does not become a graph.
    """
    subject = str(path)
    _look_through(path)
    program = _load(path)
    module = program.module(check_guards=False)
    if program.example_inputs is None:
        raise SourceError(
            subject,
            expected="a program with example inputs",
            actual="none are saved in it",
            cure="save it with torch.export.save(torch.export.export(module, example_inputs), path)",
        )
    input_names = tuple(str(name) for name in program.graph_signature.user_inputs)
    saved = as_tensors(program.example_inputs[0], f"{subject}: example inputs")
    sizes = {name: tuple(example.shape) for name, example in zip(input_names, saved, strict=True)}
    resolved, notes = resolve_declared(_declared(program), shapes, subject, sizes)
    examples = _resize(saved, list(resolved.at().values()))
    check_weights(program.named_parameters(), program.named_buffers(), subject)
    with torch.no_grad():
        named = name_outputs(first_run(module, examples, subject), input_names, subject)
    job = Job(
        subject,
        examples,
        [to_array(tensor, subject) for _, tensor in named],
        input_names,
        tuple(name for name, _ in named),
    )
    check_outputs(job.output_names, job.expected, subject)
    arrays = tuple(np.array(tensor.numpy()) for tensor in examples)
    export = export_program(program, job)
    write_shapes(
        export.model,
        resolved,
        dict(zip(job.output_names, (array.shape for array in job.expected), strict=True)),
    )

    def reference(inputs: Arrays) -> list[Array]:
        with torch.no_grad():
            result = module(*(torch.from_numpy(np.array(array)) for array in inputs))
        return [to_array(tensor, subject) for _, tensor in structure.flatten(result, torch.is_tensor)]

    step = export_step(export, program.state_dict)
    file_hash = hashlib.sha256(path.read_bytes()).hexdigest()
    return Source(
        name=path.stem,
        graph=export.model,
        inputs=arrays,
        reference=reference,
        step=replace(step, facts={**step.facts, "file_sha256": file_hash}),
        notes=(*notes, *export_notes(export)),
        dynamic=resolved if resolved.is_dynamic else None,
    )


def _declared(program: torch.export.ExportedProgram) -> dict[str, Declared | None]:
    """The dimensions of every input: a size, or the name that torch gave to a dynamic one."""
    placeholders = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    return {
        str(name): [size if isinstance(size, int) else str(size) for size in placeholders[str(name)].shape]
        for name in program.graph_signature.user_inputs
    }


def _resize(examples: tuple[torch.Tensor, ...], shapes: Sequence[tuple[int, ...]]) -> tuple[torch.Tensor, ...]:
    """The saved examples, repeated and cut to the shapes that were asked for."""
    return tuple(
        example if tuple(example.shape) == shape else torch.from_numpy(np.resize(example.numpy(), shape))
        for example, shape in zip(examples, shapes, strict=True)
    )


def _look_through(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                _look_at(archive, name, path)
    except (zipfile.BadZipFile, ValueError, EOFError, zipfile.LargeZipFile) as error:
        raise _damaged(path, str(error)) from error


def _look_at(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    entry = name.partition("/")[2]
    if not _EXPECTED.fullmatch(entry):
        raise _refused(path, f"an entry {entry or name!r}, which is none of these")
    if not entry.endswith(".json"):
        return
    content = json.loads(archive.read(name))
    if entry.startswith("data/"):
        for tensor, payload in content["config"].items():
            if payload.get("use_pickle", True):
                raise _refused(path, f"a pickle for {tensor!r}")
    elif entry.startswith("models/"):
        for expression in _expressions(content):
            if not _EXPRESSION.fullmatch(expression):
                raise _refused(path, f"a shape expression {expression[:80]!r}")


def _expressions(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "expr_str":
                yield str(value)
            else:
                yield from _expressions(value)
    elif isinstance(content, list):
        for value in content:
            yield from _expressions(value)


def _load(path: Path) -> torch.export.ExportedProgram:
    with _weights_only(), quiet():
        _register_operators()
        try:
            return torch.export.load(path)
        # Whatever a damaged archive makes torch raise.
        except Exception as error:
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            raise _damaged(path, reason) from error


def _register_operators() -> None:
    """Makes known the operators of programs that PyTorch's own tools quantized (PT2E)."""
    with contextlib.suppress(ImportError):
        import torch.ao.quantization.fx._decomposed  # noqa: F401


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
    """Makes torch.load refuse to unpickle code, also where its caller says weights_only=False."""
    key, opposite = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    saved = {name: os.environ.pop(name, None) for name in (key, opposite)}
    os.environ[key] = "1"
    try:
        yield
    finally:
        del os.environ[key]
        os.environ.update({name: value for name, value in saved.items() if value is not None})


def _damaged(path: Path, actual: str) -> SourceError:
    return SourceError(
        str(path),
        expected="an exported program that torch.export.save wrote",
        actual=actual,
        cure=f"save it again with this version of PyTorch ({torch.__version__})",
    )


def _refused(path: Path, actual: str) -> SourceError:
    return SourceError(
        str(path),
        expected="a program, its weights, constants and example inputs, and nothing that is code",
        actual=actual,
        cure="export the model again, or write a task.py with functions model() and example_inputs()",
    )
