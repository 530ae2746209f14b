"""Loads an `.onnx` file that may come from anywhere.

A file is data, never an instruction: it is parsed, and its external data is read only from regular files inside its
own folder (`external_data`). It is then checked by onnx, run once in ONNX Runtime, and raised to the opset that the
torch frontends write, so that what follows sees one form of each operator; the raised graph has to give the same
outputs.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgecomp.arrays import Array, Arrays
from edgecomp.data import InputSpec
from edgecomp.errors import SourceError
from edgecomp.frontends import runtime
from edgecomp.frontends.checks import check_outputs, format_shape
from edgecomp.frontends.constants import Constants, fix_inputs
from edgecomp.frontends.dynamic_shapes import resolve_shapes, write_shapes
from edgecomp.frontends.made_up_inputs import made_up_inputs
from edgecomp.frontends.naming import carry_modules, mark_modules
from edgecomp.frontends.onnx_parsing import OPSET, STANDARD, one_line, parse
from edgecomp.frontends.onnxruntime_operators import spell_own_operators
from edgecomp.frontends.opsets import raise_opset
from edgecomp.frontends.single_precision import in_single_precision
from edgecomp.frontends.source import Sample, Source, nothing
from edgecomp.frontends.tied_sizes import tie_sizes
from edgecomp.frontends.weightless import without_weights
from edgecomp.graph.query import describe, turns_of
from edgecomp.model import Step
from edgecomp.shapes import InputShapes, Shapes

if TYPE_CHECKING:
    from edgecomp.graph.session import Session

#: From here on operators have the form that the converters know, so a graph that cannot be raised may stay.
OLDEST_KEPT_OPSET = 13

#: Elements of an input: 2**27 float32 numbers are 512 MB, more than a device has for one tensor.
_LARGEST_INPUT = 2**27


def load_onnx(
    path: Path,
    *,
    shapes: Shapes | None = None,
    example_inputs: Sequence[Array] | None = None,
    sample: Sample | None = None,
    constants: Constants | None = None,
) -> Source:
    """Loads an ONNX model.

    Args:
        path: The file; it exists.
        shapes: Input name -> shape, for dynamic inputs (see `edgecomp.shapes`).
        example_inputs: One array for each input; their shapes are the example sizes of dynamic inputs. Without them,
            the sample is taken, or inputs are generated.
        sample: Gives one sample of the data that the model is used with, if there are any of the example sizes.
        constants: Inputs that are to be constants, with their numbers.

    Raises:
        SourceError: The file is damaged or hostile, or the model cannot be used.
    """
    subject = str(path)
    model, opset, digest = parse(path)
    common.NameFixPass()(model)  # runtimes refuse two nodes of one name, which exporters write
    graph = model.graph
    mark_modules(graph)
    # Before IR version 4 every weight was an input too, and some exporters still write that.
    for index in reversed(range(len(graph.inputs))):
        if graph.inputs[index].name in graph.initializers:
            graph.inputs.pop(index)
    fix_inputs(model, constants or {}, subject)
    dtypes = [_dtype("input", value, subject) for value in graph.inputs]
    for value in graph.outputs:
        _dtype("output", value, subject)
    given = None if example_inputs is None else _shapes_of(example_inputs, graph, subject)
    resolved, notes = resolve_shapes(graph, shapes, subject, given)
    if example_inputs is not None:
        candidates = [_check_examples(graph, dtypes, example_inputs, resolved.at(), subject)]
    else:
        _check_sizes(resolved.at(), subject)
        drawn = sample and sample(_specs(graph, dtypes, resolved))
        made_up, said = made_up_inputs(graph, dtypes, [resolved.at()[str(each.name)] for each in graph.inputs])
        candidates = [drawn] if drawn else made_up
        notes.extend([] if drawn else [said])
    write_shapes(model, resolved)
    model, single = in_single_precision(model, candidates[0])
    graph = model.graph
    notes.extend(single)
    _check_ends(graph, subject)
    session = _open(model, subject)
    facts: dict[str, object] = {"opset": opset, "file_sha256": digest, "versions": {"onnx": onnx.__version__}}
    if isinstance(session, SourceError):
        notes.append(f"ONNX Runtime cannot run the original, so nothing was compared with it: {session.actual}.")
        failure, examples = session, candidates[0]

        def refuse(inputs: Arrays) -> list[Array]:
            raise failure

        reference: Callable[[Arrays], list[Array]] = refuse
        release = nothing
    else:
        examples, expected = _run_first(session, candidates, subject)
        resolved, tied = tie_sizes(resolved, examples, functools.partial(_runs, session))
        notes.extend(
            f"Its dimensions {gone!r} and {kept!r} are one: it runs only if they are equal."
            for gone, kept in tied.items()
        )
        del session  # it may hold the weights in another form
        reference = original = _Reference(model, examples, expected)
        release = original.release
        check_outputs([str(value.name) for value in graph.outputs], expected, subject, _CURE)
        output_shapes = {str(v.name): array.shape for v, array in zip(graph.outputs, expected, strict=True)}
        write_shapes(model, resolved, output_shapes)
        raised, note = _raise_opset(model, opset, examples, expected, subject)
        carry_modules(model.graph, raised.graph)
        model = spell_own_operators(raised, examples, expected, subject)
        notes.extend(note)
    return Source(
        name=path.stem,
        graph=model,
        inputs=examples,
        reference=reference,
        step=Step("import", settings=_settings(resolved, constants), facts=facts),
        notes=tuple(notes),
        dynamic=resolved if resolved.is_dynamic else None,
        release=release,
    )


class _Reference:
    """The original in ONNX Runtime, opened when another input comes than the examples, which it has run on already."""

    def __init__(self, model: ir.Model, examples: Arrays, expected: Sequence[Array]) -> None:
        self._model = model
        self._examples, self._expected = examples, expected

    @functools.cached_property
    def _session(self) -> Session:
        return runtime.open_session(self._model)

    def __call__(self, inputs: Arrays) -> list[Array]:
        if all(map(np.array_equal, inputs, self._examples)):
            return [array.copy() for array in self._expected]
        return self._session.run_data(inputs)

    def release(self) -> None:
        """Closes the session; the next input opens another."""
        self.__dict__.pop("_session", None)


#: Beyond it, a loop is a damaged number rather than an algorithm.
_MOST_TURNS = 1_000_000

_CURE = (
    "check the model: it gives this for random inputs from 0 to 1, or for the example inputs; "
    "an input that is a setting can be made a constant with --constant NAME=NUMBER"
)


def _settings(shapes: InputShapes, constants: Constants | None) -> dict[str, object]:
    settings: dict[str, object] = {"shapes": {name: list(shape) for name, shape in shapes.inputs.items()}}
    if constants:
        settings["constants"] = {name: list(numbers) for name, numbers in constants.items()}
    return settings | ({"example_sizes": dict(shapes.example)} if shapes.is_dynamic else {})


def _shapes_of(examples: Sequence[Array], graph: ir.Graph, subject: str) -> dict[str, tuple[int, ...]]:
    names = [str(value.name) for value in graph.inputs]
    if len(examples) != len(names):
        raise SourceError(
            f"{subject}: the example inputs",
            expected=f"{len(names)} arrays, for {', '.join(names)}",
            actual=str(len(examples)),
            cure="give one array for each input of the model",
        )
    return {name: np.shape(array) for name, array in zip(names, examples, strict=True)}


def _check_examples(
    graph: ir.Graph,
    dtypes: Sequence[np.dtype[Any]],
    examples: Sequence[Array],
    shapes: Mapping[str, tuple[int, ...]],
    subject: str,
) -> Arrays:
    arrays = tuple(map(np.asarray, examples))
    for value, dtype, array in zip(graph.inputs, dtypes, arrays, strict=True):
        shape = shapes[str(value.name)]
        if (array.dtype, array.shape) != (dtype, shape):
            raise SourceError(
                f"{subject}: the example input {value.name!r}",
                expected=f"{dtype} of shape {format_shape(shape)}",
                actual=f"{array.dtype} of shape {format_shape(array.shape)}",
                cure="give an array of the type and shape that the model takes",
            )
    return arrays


def _specs(graph: ir.Graph, dtypes: Sequence[np.dtype[Any]], resolved: InputShapes) -> list[InputSpec]:
    """What data for a graph have to look like at the example sizes."""
    names = [str(value.name) for value in graph.inputs]
    return [InputSpec(name, dtype.name, resolved.at()[name]) for name, dtype in zip(names, dtypes, strict=True)]


def _check_sizes(shapes: Mapping[str, tuple[int, ...]], subject: str) -> None:
    for name, shape in shapes.items():
        if math.prod(shape) > _LARGEST_INPUT:
            raise SourceError(
                f"{subject}: input {name!r}",
                expected=f"at most {_LARGEST_INPUT} elements",
                actual=f"shape {format_shape(shape)}",
                cure="export the model with the sizes that it is used with",
            )


def _dtype(role: str, value: ir.Value, subject: str) -> np.dtype[Any]:
    """The type of the numbers of an input or output."""
    if isinstance(value.type, ir.TensorType):
        with contextlib.suppress(TypeError):  # strings
            dtype = value.type.dtype.numpy()
            if dtype.kind in "biuf":
                return dtype
    raise SourceError(
        f"{subject}: {role} {value.name!r}",
        expected="a tensor of numbers",
        actual=str(value.type),
        cure=f"cut the model {'behind' if role == 'input' else 'before'} the part that has such an {role}",
    )


def _check_ends(graph: ir.Graph, subject: str) -> None:
    """Refuses loops that nobody would wait for: one run of the original would not come back."""
    for node in graph.all_nodes():
        turns = turns_of(node) if node.op_type == "Loop" and node.domain in STANDARD else None
        if turns is not None and turns > _MOST_TURNS:
            raise SourceError(
                f"{subject}: {describe(node)}",
                expected=f"a loop of at most {_MOST_TURNS:,} turns, or one that its condition ends",
                actual=f"{turns:,} turns",
                cure="correct the trip count, the loop's first input",
            )


def _open(model: ir.Model, subject: str) -> Session | SourceError:
    """A session, or why there is none when the model has operators of its own, which the converters will name."""
    try:
        return runtime.open_session(model, lasting=False)
    # ONNX Runtime's exceptions have no common base below Exception.
    except Exception as error:
        failure = SourceError(
            subject,
            expected="a model that ONNX Runtime can load",
            actual=one_line(error),
            cure="export the model again with opset_version=20",
        )
        if any(node.domain not in STANDARD for node in model.graph.all_nodes()):
            return failure
        raise failure from error


def _run(session: Session, examples: Arrays, subject: str) -> list[Array]:
    try:
        return session.run(examples)
    except Exception as error:
        sizes = ", ".join("x".join(map(str, array.shape)) for array in examples)
        raise SourceError(
            subject,
            expected=f"a model that runs on inputs of shape {sizes}",
            actual=one_line(error),
            cure="give the shapes that it needs with --shape NAME=..., or inputs that it takes with --calibration",
        ) from error


def _runs(session: Session, inputs: Arrays) -> bool:
    try:
        session.run(inputs)
    # ONNX Runtime's exceptions have no common base below Exception.
    except Exception:
        return False
    return True


def _run_first(session: Session, candidates: Sequence[Arrays], subject: str) -> tuple[Arrays, list[Array]]:
    """The first inputs that the model gives finite numbers for, or else that it runs on, and what it gives."""
    ran: tuple[Arrays, list[Array]] | None = None
    for inputs in candidates:
        with contextlib.suppress(SourceError):
            outputs = _run(session, inputs, subject)
            if all(np.isfinite(array).all() for array in outputs if array.dtype.kind == "f"):
                return inputs, outputs
            ran = ran or (inputs, outputs)
    return ran or (candidates[0], _run(session, candidates[0], subject))


def _raise_opset(
    model: ir.Model, opset: int, examples: Arrays, expected: list[Array], subject: str
) -> tuple[ir.Model, list[str]]:
    if opset == 0 or opset >= OPSET:
        return model, []
    try:
        raised = without_weights(model, lambda proto: raise_opset(proto, opset, OPSET))
        if (found := runtime.first_deviation(raised, examples, expected)) is not None:
            raise ValueError(f"the raised graph differs by {found[1]:.2g} of an output's range")
    # The version converter raises RuntimeError and worse about operators that it has no adapter for.
    except Exception as error:
        if opset < OLDEST_KEPT_OPSET:
            raise SourceError(
                subject,
                expected=f"an opset of {OLDEST_KEPT_OPSET} or more, or one that onnx can raise to it",
                actual=f"opset {opset}; {one_line(error)}",
                cure="export the model again with opset_version=20",
            ) from error
        return model, [f"The graph stays at opset {opset}: {one_line(error)}."]
    return raised, []
