"""Makes a source of a torch module and its example inputs."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from edgecomp.arrays import Array, Arrays
from edgecomp.errors import DataError, SourceError
from edgecomp.frontends import runtime, structure
from edgecomp.frontends.blame import first_line
from edgecomp.frontends.checks import bad_weight, check_outputs, check_shapes
from edgecomp.frontends.dynamic_shapes import resolve_declared, write_shapes
from edgecomp.frontends.source import Source
from edgecomp.frontends.torch_dimensions import declared_dimensions
from edgecomp.frontends.torch_export import OPSET, Export, Job, export_module
from edgecomp.graph.sizes import bindings
from edgecomp.model import Step
from edgecomp.shapes import InputShapes, Shapes
from edgecomp.verification.metrics import Function
from edgecomp.verification.samples import Whole


def load_module(
    module: torch.nn.Module,
    example_inputs: Any,
    *,
    name: str,
    subject: str,
    shapes: Shapes | None = None,
    dynamic_shapes: Any = None,
) -> Source:
    """Exports `module` with the shapes of `example_inputs`, and the dynamic dimensions that were asked for.

    Args:
        module: Any module whose forward takes tensors by position. Its training flags and buffers are left as they are.
        example_inputs: A tuple or list of tensors or arrays, or one of them for a module with one input.
        name: The source's short name.
        subject: The source as the user named it, for error messages.
        shapes: Shapes by input name (see `edgecomp.shapes`): they make dimensions dynamic. A number can only confirm,
            since a torch module has the shapes of its examples.
        dynamic_shapes: Which dimensions are dynamic, as `torch.export.export` takes it.

    Raises:
        SourceError: The module, its weights, its examples or its outputs cannot be used.
        ExportError: The module does not become a graph.
    """
    module = unwrapped(module)
    tensors = as_tensors(example_inputs, f"{subject}: example_inputs()")
    input_names = parameter_names(module, len(tensors))
    examples = tuple(tensor.detach().cpu().numpy().copy() for tensor in tensors)
    named_examples = dict(zip(input_names, examples, strict=True))
    check_shapes(shapes, named_examples, subject)
    declared = declared_dimensions(named_examples, shapes, dynamic_shapes, subject)
    resolved, notes = resolve_declared(
        declared, shapes, subject, {name: array.shape for name, array in named_examples.items()}
    )
    check_weights(module.named_parameters(), module.named_buffers(), subject)
    with preserving(module), torch.no_grad():
        outputs = first_run(module, tensors, subject)
        named = name_outputs(outputs, input_names, subject)
        job = Job(
            subject,
            tensors,
            [to_array(tensor, subject) for _, tensor in named],
            input_names,
            tuple(output for output, _ in named),
            axes=_axes(resolved),
            other=_other_size(module, named_examples, resolved, subject),
        )
        check_outputs(job.output_names, job.expected, subject)
        again = module(*(tensor.clone() for tensor in tensors))
        check_repeatable(job, [to_array(tensor, subject) for _, tensor in structure.flatten(again, torch.is_tensor)])
        export = export_module(module, job)
    if resolved.is_dynamic:
        write_shapes(export.model, resolved, {n: a.shape for n, a in zip(job.output_names, job.expected, strict=True)})

    def reference(inputs: Arrays) -> list[Array]:
        with evaluating(module), torch.no_grad():
            # A copy: forward may write to its inputs, and torch warns about read-only arrays.
            result = module(*(torch.from_numpy(np.array(array)) for array in inputs))
        return [to_array(tensor, subject) for _, tensor in structure.flatten(result, torch.is_tensor)]

    def remake(other: torch.nn.Module) -> Source:
        return load_module(other, examples, name=name, subject=subject, shapes=shapes, dynamic_shapes=dynamic_shapes)

    return Source(
        name=name,
        graph=export.model,
        inputs=examples,
        reference=reference,
        step=export_step(export, module.state_dict()),
        notes=(*notes, *export_notes(export)),
        dynamic=resolved if resolved.is_dynamic else None,
        module=module,
        remake=remake,
    )


#: Wrappers that compute what the module inside computes -> where they keep it.
_WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}


def unwrapped(module: torch.nn.Module) -> torch.nn.Module:
    """The module that torch.compile or DataParallel was called with."""
    while (attribute := _WRAPPERS.get(type(module).__name__)) and type(module).__module__.startswith("torch."):
        module = getattr(module, attribute)
    return module


def _axes(shapes: InputShapes) -> dict[str, dict[int, str]]:
    return {
        name: axes
        for name, shape in shapes.inputs.items()
        if (axes := {axis: size for axis, size in enumerate(shape) if isinstance(size, str)})
    }


def _other_size(
    module: torch.nn.Module, examples: Mapping[str, Array], shapes: InputShapes, subject: str
) -> tuple[tuple[torch.Tensor, ...], list[Array]] | None:
    """Inputs of another size, made of the examples, and what the module gives for them.

    Raises:
        SourceError: The module runs at no other size.
    """
    failure: SourceError | None = None
    for binding in [sizes for direction in (1, -1) for sizes in bindings(shapes.example, direction)[:1]]:
        wanted = shapes.at(binding)
        tensors = tuple(torch.from_numpy(np.resize(array, wanted[name])) for name, array in examples.items())
        try:
            result = first_run(module, tensors, subject)
        except SourceError as error:
            failure = error
            continue
        return tensors, [to_array(tensor, subject) for _, tensor in structure.flatten(result, torch.is_tensor)]
    if failure is not None and shapes.is_dynamic:
        raise SourceError(
            f"{subject}: the dynamic dimensions {', '.join(shapes.example)}",
            expected="a module that runs at other sizes than its example's",
            actual=failure.actual,
            cure="leave a dimension that has to have one size out of dynamic_shapes() and --shape",
        )
    return None


def adapt_metric(metric: Callable[..., Any], source: Source, subject: str) -> Function:
    """A task's function as a metric of flat arrays: it sees tensors in the structure that its module returns.

    Where samples are of several sizes, a list of one tensor for each stands in a tensor's place.
    """
    assert source.module is not None, "a metric comes with a torch module"
    with preserving(source.module), torch.no_grad():
        example = source.module(*(torch.from_numpy(np.array(array)) for array in source.inputs))

    def as_tensor(whole: Whole) -> Any:
        return [as_tensor(each) for each in whole] if isinstance(whole, list) else torch.from_numpy(np.array(whole))

    def on_arrays(outputs: Sequence[Whole], labels: Whole) -> float:
        given = structure.rebuild(example, map(as_tensor, outputs), torch.is_tensor), as_tensor(labels)
        try:
            result = metric(*given)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise SourceError(
                f"{subject}: metric()",
                expected="a number for what the model gives and the labels of the evaluation data",
                actual=f"{type(error).__name__}: {first_line(error)} ({last.filename}:{last.lineno})",
                cure="correct metric(outputs, labels)",
            ) from error
        try:
            found = float(result)
        except (TypeError, ValueError):
            raise SourceError(
                f"{subject}: metric()",
                expected="one number",
                actual=f"{type(result).__name__}",
                cure="return a float or a tensor with one element",
            ) from None
        if not math.isfinite(found):
            raise DataError(
                f"{subject}: metric()",
                expected="a number",
                actual=f"{found} for {len(labels)} labels",
                cure="let metric(outputs, labels) return a finite number, larger for better outputs",
            )
        return found

    on_arrays.__name__ = getattr(metric, "__name__", "metric")  # what tables call it
    return on_arrays


@contextlib.contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Eval mode within a block, whatever the training flags of the submodules were before and are again after."""
    flags = [(child, child.training) for child in module.modules()]
    # A module that torch.export captured refuses: its mode is what it was captured in.
    with contextlib.suppress(NotImplementedError):
        module.eval()
    try:
        yield
    finally:
        for child, flag in flags:
            child.training = flag


@contextlib.contextmanager
def preserving(module: torch.nn.Module) -> Iterator[None]:
    """Eval mode, and in the end the buffers as they were: exporters run forward, which may count or cache."""
    saved = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    with evaluating(module):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in saved:
                    if not torch.equal(buffer, before):
                        buffer.copy_(before)


def as_tensors(values: Any, subject: str) -> tuple[torch.Tensor, ...]:
    """Example inputs as a tuple of tensors.

    Raises:
        SourceError: They are something else.
    """
    items = (values,) if isinstance(values, torch.Tensor | np.ndarray) else values
    if not isinstance(items, tuple | list) or not items:
        actual = "nothing" if isinstance(items, tuple | list) else f"a {type(values).__name__}"
        raise _examples_error(subject, actual)
    tensors = []
    for index, item in enumerate(items):
        if isinstance(item, np.ndarray):
            item = torch.from_numpy(np.array(item))
        if not isinstance(item, torch.Tensor):
            raise _examples_error(subject, f"item {index} is a {type(item).__name__}")
        if item.dtype == torch.bfloat16:
            raise _examples_error(subject, f"item {index} is bfloat16, which no mobile runtime takes")
        if item.is_floating_point() and not bool(torch.isfinite(item).all()):
            raise _examples_error(subject, f"item {index} holds NaN or infinity")
        tensors.append(item.detach())
    return tuple(tensors)


def _examples_error(subject: str, actual: str) -> SourceError:
    return SourceError(
        subject,
        expected="a tuple of finite tensors, one for each parameter of the module's forward",
        actual=actual,
        cure="return for example (torch.rand(1, 3, 224, 224),)",
    )


def parameter_names(module: torch.nn.Module, count: int) -> tuple[str, ...]:
    """The names of forward's first `count` positional parameters; those taken by *args are args_0, args_1, ..."""
    names: list[str] = []
    if isinstance(module, torch.jit.ScriptModule):
        return tuple(argument.name for argument in module.forward.schema.arguments[1:])[:count]  # type: ignore[attr-defined]
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):  # a callable of C++ may not have one
        parameters = []
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            names.extend(f"{parameter.name}_{index}" for index in range(count - len(names)))
            break
        if parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    names.extend(f"input_{index}" for index in range(len(names), count))
    return tuple(names[:count])


def name_outputs(outputs: Any, input_names: Sequence[str], subject: str) -> list[tuple[str, torch.Tensor]]:
    """The output tensors with names that are unique in the graph.

    Raises:
        SourceError: The outputs hold something other than tensors, or none.
    """
    try:
        named = structure.flatten(outputs, torch.is_tensor)
    except structure.NotATensorError as error:
        raise _outputs_error(subject, str(error)) from None
    if not named:
        raise _outputs_error(subject, "no tensor")
    taken = set(input_names)
    result = []
    for name, tensor in named:
        unique = name if name not in taken else f"{name}_output"
        suffix = 2
        while unique in taken:
            unique = f"{name}_{suffix}"
            suffix += 1
        taken.add(unique)
        result.append((unique, tensor))
    return result


def _outputs_error(
    subject: str, actual: str, cure: str = "wrap the model in a module that returns only tensors"
) -> SourceError:
    return SourceError(
        f"{subject}: what forward returns",
        expected="a tensor, or a tuple, list or dictionary of tensors",
        actual=actual,
        cure=cure,
    )


def first_run(module: Callable[..., Any], tensors: Sequence[torch.Tensor], subject: str) -> Any:
    """Runs the module on its examples; what it warns about reaches the user.

    Raises:
        SourceError: It raises.
    """
    try:
        return module(*(tensor.clone() for tensor in tensors))
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise SourceError(
            f"{subject}: the module on its example inputs",
            expected="a forward that takes " + ", ".join(f"{list(t.shape)} {t.dtype}" for t in tensors),
            actual=f"{type(error).__name__}: {first_line(error)} ({last.filename}:{last.lineno})",
            cure=_other_dtype(module, tensors) or "make model()(*example_inputs()) work on the CPU",
        ) from error


def _other_dtype(module: object, tensors: Sequence[torch.Tensor]) -> str | None:
    """What to do about weights of another floating point type than the inputs."""
    parameters = module.parameters() if isinstance(module, torch.nn.Module) else ()
    dtypes = {str(tensor.dtype) for tensor in parameters if tensor.is_floating_point()}
    given = {str(tensor.dtype) for tensor in tensors if tensor.is_floating_point()}
    if dtypes <= given or not given:
        return None
    return f"let model() end with .float(): its weights are {', '.join(sorted(dtypes))}"


def to_array(tensor: torch.Tensor, subject: str) -> Array:
    """A tensor as an array of its own.

    Raises:
        SourceError: numpy has no such dtype.
    """
    if tensor.is_complex():
        raise _outputs_error(subject, f"complex numbers ({tensor.dtype})", "return torch.view_as_real of them")
    try:
        return np.array(tensor.detach().cpu().numpy())
    except TypeError as error:
        raise _outputs_error(subject, f"a tensor of {tensor.dtype}: {error}") from None


def check_weights(
    parameters: Iterable[tuple[str, torch.Tensor]], buffers: Iterable[tuple[str, torch.Tensor]], subject: str
) -> None:
    """Raises SourceError naming the first tensor without numbers, or with NaN or infinity.

    Infinity is allowed in buffers: attention masks hold it.
    """
    for kind, tensors in (("parameter", parameters), ("buffer", buffers)):
        for name, tensor in tensors:
            _check_has_numbers(tensor, f"{subject}: {kind} {name!r}")
            if not tensor.is_floating_point():
                continue
            bad = torch.isnan(tensor) if kind == "buffer" else ~torch.isfinite(tensor)
            if bool(bad.any()):
                raise bad_weight(f"{subject}: {kind} {name!r}", int(bad.sum()), tensor.numel())


def _check_has_numbers(tensor: torch.Tensor, subject: str) -> None:
    if tensor.is_meta:
        actual = "none: it is on the device 'meta'"
        cure = "load the weights, or build the module outside of torch.device('meta')"
    elif is_traceable_wrapper_subclass(tensor):
        actual = f"{type(tensor).__name__}, which holds them in a form of its own"
        cure = "give the module before it was packed, with --precision; or quantize with prepare_pt2e and convert_pt2e"
    else:
        return
    raise SourceError(subject, expected="numbers", actual=actual, cure=cure)


def check_repeatable(job: Job, again: Sequence[Array]) -> None:
    """Raises SourceError when a second run gave other outputs than the first."""
    for name, left, right in zip(job.output_names, job.expected, again, strict=True):
        if runtime.difference(left, right) > runtime.tolerance(left.dtype):
            raise SourceError(
                f"{job.subject}: output {name!r}",
                expected="the same outputs for the same inputs",
                actual="two runs in eval mode gave different ones",
                cure="remove randomness and state from forward: dropout with training=True, noise, counters, caches",
            )


def export_step(export: Export, state: Mapping[str, Any]) -> Step:
    """What the provenance says about an export."""
    return Step(
        "export",
        settings={"opset": OPSET},
        facts={
            "exporter": export.exporter,
            "difference": export.difference,
            "state_dict_sha256": hash_state(state),
            "versions": {"torch": torch.__version__, "onnx": onnx.__version__},
        },
    )


def export_notes(export: Export) -> tuple[str, ...]:
    """What a report should show about an export."""
    return tuple(f"The {export.exporter} exporter was used, the fast one failed: {why}." for why in export.rejected)


def hash_state(state: Mapping[str, Any]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all tensors, in the state dict's order."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            # Bytes rather than numpy arrays: numpy has no bfloat16.
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()
