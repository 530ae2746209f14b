"""Runs the steps of a recipe that work on a torch module, and exports the result."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from edgecomp.compression.size import macs, parameters
from edgecomp.errors import SourceError
from edgecomp.frontends.source import Source
from edgecomp.model import Step
from edgecomp.preparation import float_size, prepare
from edgecomp.step import ModuleStep
from edgecomp.workbench import Workbench


def compress_module(source: Source, steps: Sequence[ModuleStep], bench: Workbench) -> Source:
    """Applies steps one after another to a copy of the source's module.

    Args:
        source: A source with a torch module.
        steps: The steps, in order.
        bench: What the steps work with.

    Returns:
        The source of the changed module: exported again, with the changed module as the reference, and with the
        original and each step added to its history, each with metric, MACs and parameters.

    Raises:
        SourceError: The source has no module, or a step left one that cannot be used.
    """
    if source.module is None or source.remake is None:
        raise SourceError(
            f"{source.name}: the step {steps[0].kind}",
            expected="a torch module: it changes layers, or trains them",
            actual="a graph, which has none",
            cure="give the task.py with the module that the file was exported from, or leave the step out",
        )
    if any(isinstance(child, torch.jit.ScriptModule) for child in source.module.modules()):
        raise SourceError(
            f"{source.name}: the step {steps[0].kind}",
            expected="a torch module of Python classes, whose layers can be told apart",
            actual="a TorchScript program",
            cure="build the module with the code that it was made with, and load torch.jit.load(path).state_dict() "
            "into it; or leave the step out",
        )
    module = copy.deepcopy(source.module)
    size = {"size": float_size(prepare(source))}
    history = [*source.history, Step("original", facts=size | _measured(source.module, source, bench))]
    for done, step in enumerate(steps):
        bench.progress("compress", done, len(steps))
        changed = step.apply(module, bench)
        module = changed.module.eval()
        settings: dict[str, Any] = asdict(step)  # type: ignore[call-overload]  # a protocol cannot ask for a dataclass
        history.append(Step(step.kind, settings, {**changed.facts, **_measured(module, source, bench)}))
    bench.progress("compress", len(steps), len(steps))
    made = source.remake(module)
    export = replace(made.step, facts={**source.step.facts, **made.step.facts})
    return replace(
        source, graph=made.graph, reference=made.reference, module=module, step=export, history=tuple(history)
    )


def _measured(module: torch.nn.Module, source: Source, bench: Workbench) -> dict[str, Any]:
    """Returns the facts for the provenance: parameters, MACs, and the metric if there is one."""
    facts: dict[str, Any] = {"parameters": parameters(module), "macs": macs(module, source.inputs)}
    metric = bench.metric(module)
    return facts if metric is None else facts | {"metric": metric}
