"""Turns a torch module into an ONNX graph that is known to compute the same.

PyTorch has two exporters. The TorchScript one is about five times faster and is deprecated; it records one run, so
that an `if` on data disappears in silence, with no more than a TracerWarning. The torch.export one handles or refuses
such code. The rules:

1. The TorchScript exporter goes first. If it fails, if it warned that it recorded a decision on data (sizes that are
   fixed are no data), or if its graph disagrees with the module on the example inputs, the torch.export one goes next.
2. A graph is accepted only when it agrees with the module in ONNX Runtime (`runtime.TOLERANCE`).
3. When both fail the error names the torch operator and the module that it sits in.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch.jit._trace import TracerWarning

from edgecomp.arrays import Array
from edgecomp.errors import ExportError
from edgecomp.frontends import runtime
from edgecomp.frontends.attention import TRANSLATIONS
from edgecomp.frontends.blame import blame, first_line
from edgecomp.frontends.naming import name_by_module
from edgecomp.frontends.size_decisions import decided_by_sizes
from edgecomp.frontends.structure import flatten
from edgecomp.system.quiet import quiet

#: 20 is the first opset with Gelu and the last that both exporters write; every runtime since 2023 reads it.
OPSET = 20

_TORCH_MODULES = os.path.dirname(torch.nn.__file__)


@dataclass(frozen=True)
class Export:
    """An accepted graph.

    Attributes:
        model: The graph, with names by module.
        exporter: "torchscript" or "torch.export".
        difference: The largest difference to the module over all outputs, as a share of the output's range.
        rejected: Why the exporter that was tried before was not taken, if there was one.
    """

    model: ir.Model
    exporter: str
    difference: float
    rejected: tuple[str, ...]


class _Flat(torch.nn.Module):
    """The user's module, giving a flat tuple: dictionaries, nested tuples and None never reach the exporters."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(tensor for _, tensor in flatten(self.module(*inputs), torch.is_tensor))


class _DisagreementError(Exception):
    """A graph that does not compute what the module does."""


class _DecisionOnDataError(Exception):
    """A trace that recorded a decision on data, at `location`."""

    def __init__(self, warning: warnings.WarningMessage) -> None:
        self.location = f"{warning.filename}:{warning.lineno}"
        super().__init__(f"{str(warning.message).partition('. ')[0]} ({self.location})")


@dataclass(frozen=True)
class Job:
    """What is to be exported.

    Attributes:
        subject: The source as the user named it.
        inputs: Example inputs.
        expected: What the original gives for them.
        input_names: Names of the graph's inputs.
        output_names: Names of the graph's outputs.
        axes: Input name -> axis -> the name of its dynamic dimension; empty for a static graph.
        other: Inputs of another size and what the original gives for them, where something is dynamic.
    """

    subject: str
    inputs: tuple[torch.Tensor, ...]
    expected: Sequence[Array]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    other: tuple[tuple[torch.Tensor, ...], Sequence[Array]] | None = None

    def fresh_inputs(self) -> tuple[torch.Tensor, ...]:
        """Copies of the inputs: a forward that works in place would change them for whoever comes next."""
        return tuple(tensor.clone() for tensor in self.inputs)


def export_module(module: torch.nn.Module, job: Job) -> Export:
    """Exports a module that is in eval mode.

    Raises:
        ExportError: No exporter gives a graph that agrees with the module.
    """
    wrapper = _Flat(module)
    wrapper.training = False  # and no more: a module that torch.export captured refuses eval()
    names = {id(child): name for name, child in module.named_modules()}
    modules = [name for name, _ in wrapper.named_modules()]
    exporters: dict[str, Callable[[], ir.Model]] = {
        "torchscript": lambda: _trace(wrapper, job),
        "torch.export": lambda: _capture(wrapper, job),
    }
    failures: dict[str, Exception] = {}
    for exporter, run in exporters.items():
        try:
            model = run()
            name_by_module(model, modules, wrapped=True)
            model, difference = _check(model, job)
        # Whatever an exporter raises is a reason to try the next one, and is shown when none is left.
        except Exception as error:
            failures[exporter] = error
        else:
            return Export(model, exporter, difference, tuple(map(first_line, failures.values())))
    raise _export_error(job.subject, failures, names)


def export_program(program: torch.export.ExportedProgram, job: Job) -> Export:
    """Exports a program that torch.export captured earlier.

    Raises:
        ExportError: The exporter fails, or its graph disagrees with the program.
    """
    try:
        with quiet():
            exported = torch.onnx.export(
                program,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
                input_names=list(job.input_names),
                output_names=list(job.output_names),
                custom_translation_table=TRANSLATIONS,
            )
        assert exported is not None, "the torch.export exporter returns a program when no file is given"
        model = exported.model
        owners = {name.rpartition(".")[0] for name in program.state_dict}
        name_by_module(model, _scopes(model) | owners, wrapped=False)
        model, difference = _check(model, job)
    except Exception as error:
        raise _export_error(job.subject, {"torch.export": error}, {}) from error
    return Export(model, "torch.export", difference, ())


def _trace(wrapper: _Flat, job: Job) -> ir.Model:
    buffer = io.BytesIO()
    traced = _around_programs(wrapper, job)
    handle = None if traced else wrapper.register_forward_pre_hook(_record_full_names)
    # The fused attention kernels of torch's own transformer layers have no counterpart in ONNX; their parts have.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # A dynamic size may decide otherwise when it is another.
        with quiet() as warned, contextlib.nullcontext() if job.axes else decided_by_sizes():
            torch.onnx.export(
                traced or wrapper,
                job.fresh_inputs(),
                buffer,  # type: ignore[arg-type] # this exporter takes a stream, the declared type is the other one's
                opset_version=OPSET,
                dynamo=False,
                input_names=list(job.input_names),
                output_names=list(job.output_names),
                dynamic_axes={name: dict(axes) for name, axes in job.axes.items()},
            )
    finally:
        if handle:
            handle.remove()
        torch.backends.mha.set_fastpath_enabled(fused)
    for warning in warned:
        # The checks in torch's own modules are about shapes, which are fixed here: every LSTM warns about them.
        if issubclass(warning.category, TracerWarning) and not warning.filename.startswith(_TORCH_MODULES):
            raise _DecisionOnDataError(warning)
    return ir.from_proto(onnx.load_model_from_string(buffer.getvalue()))


def _around_programs(wrapper: _Flat, job: Job) -> torch.jit.ScriptModule | None:
    """A trace around TorchScript programs, which the exporter does not take as submodules; their branches stay.

    The exporter inlines a program in place: exported once more, its nodes know the program, not the module within.
    """
    if not any(isinstance(child, torch.jit.ScriptModule) for child in wrapper.modules()):
        return None
    with quiet():
        traced: torch.jit.ScriptModule = torch.jit.trace(wrapper, job.fresh_inputs(), check_trace=False)  # type: ignore[no-untyped-call]
    return traced


def _record_full_names(wrapper: torch.nn.Module, _: object) -> None:
    """Makes the TorchScript exporter record whole module paths.

    It records the last part only ("conv" for "encoder.block.conv"), which is ambiguous when the modules between are
    containers that are never called.
    """
    scopes = getattr(torch.jit._trace, "_trace_module_map", None)
    full_name = getattr(torch._C, "_jit_onnx_create_full_scope_name", None)
    if scopes is None or full_name is None:
        return  # another version of PyTorch: short names still lead to most modules
    for name, module in wrapper.named_modules():
        scopes[module] = full_name(torch.typename(type(module)), name)


def _capture(wrapper: _Flat, job: Job) -> ir.Model:
    # torch.export takes a size of 1 for fixed, however dynamic it is said to be.
    single = any(tensor.shape[axis] == 1 for tensor, axes in zip(job.inputs, _axes(job), strict=True) for axis in axes)
    inputs = tuple(tensor.clone() for tensor in job.other[0]) if single and job.other else job.fresh_inputs()
    with quiet():
        program = torch.onnx.export(
            wrapper,
            inputs,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            input_names=list(job.input_names),
            output_names=list(job.output_names),
            dynamic_shapes=_dynamic_shapes(job),
            custom_translation_table=TRANSLATIONS,
        )
    assert program is not None, "the torch.export exporter returns a program when no file is given"
    return program.model


def _dynamic_shapes(job: Job) -> Any:
    """What torch.export takes for the wrapper's one variadic parameter; it finds relations between sizes by itself."""
    if not job.axes:
        return None
    return {"inputs": tuple(dict.fromkeys(each, torch.export.Dim.AUTO) if each else None for each in _axes(job))}


def _axes(job: Job) -> list[Mapping[int, str]]:
    """The dynamic axes of each input, with their names."""
    return [job.axes.get(name, {}) for name in job.input_names]


def _check(model: ir.Model, job: Job) -> tuple[ir.Model, float]:
    """Compares the graph with the original; gives it back with its weights in memory of its own."""
    found = [value.name for value in model.graph.inputs], [value.name for value in model.graph.outputs]
    if found != (list(job.input_names), list(job.output_names)):
        raise _DisagreementError(f"the graph has the inputs {found[0]} and the outputs {found[1]}")
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    model = ir.from_proto(onnx.load_model_from_string(proto.SerializeToString()))
    session = runtime.open_session(model)
    worst, rounds = 0.0, runtime.rounds(model)
    for inputs, expected in ((job.inputs, job.expected), *([job.other] if job.other else ())):
        actual = session.run([tensor.detach().cpu().numpy() for tensor in inputs])
        for (name, difference), left in zip(runtime.differences(model.graph, expected, actual), expected, strict=True):
            if difference > (runtime.ROUNDED_TOLERANCE if rounds else runtime.tolerance(left.dtype)):
                sizes = "" if inputs is job.inputs else f" on inputs of {', '.join(str(list(t.shape)) for t in inputs)}"
                raise _DisagreementError(
                    f"output {name!r} differs from the module's by {difference:.2g} of its range{sizes}"
                )
            worst = max(worst, difference)
    return model, worst


def _scopes(model: ir.Model) -> set[str]:
    """Every module path that the nodes of a captured program recorded: it has no module to ask."""
    scopes: set[str] = set()
    for node in model.graph.all_nodes():
        recorded = node.metadata_props.get("pkg.torch.onnx.name_scopes")
        # The last scope is the torch operator's own name.
        scopes.update(ast.literal_eval(recorded)[:-1] if recorded else ())
    return scopes


def _export_error(subject: str, failures: dict[str, Exception], names: dict[int, str]) -> ExportError:
    reasons = "; ".join(f"{exporter}: {first_line(error)}" for exporter, error in failures.items())
    culprit = blame(list(failures.values()), names)
    where = f" in module {culprit.module!r}" if culprit.module else " in the outermost module"
    where += f" ({culprit.location})" if culprit.location else ""
    decided = any(isinstance(error, _DecisionOnDataError) for error in failures.values())
    if culprit.operator and not culprit.data_dependent:
        return ExportError(
            f"{subject}: torch operator {culprit.operator}{where}",
            expected="operators that ONNX can express",
            actual=reasons,
            cure="replace the operator there, or move it out of the model, before its inputs or behind its outputs",
        )
    if culprit.data_dependent or decided:
        return ExportError(
            f"{subject}: control flow that depends on data{where}",
            expected="a forward that does the same steps whatever the values of its inputs",
            actual=reasons,
            cure="use torch.where or torch.cond instead of `if`, and shapes instead of values for sizes and loops",
        )
    if all(isinstance(error, _DisagreementError) for error in failures.values()):
        return ExportError(
            subject,
            expected=f"a graph that agrees with the module within {runtime.TOLERANCE:g} of each output's range",
            actual=reasons,
            cure="look for randomness, for state that forward changes, and for dropout called with training=True",
        )
    return ExportError(
        f"{subject}{where}" if culprit.module or culprit.location else subject,
        expected="a module that torch.onnx.export can express",
        actual=reasons,
        cure="change the named part, or give an .onnx file that you exported yourself",
    )
