"""Residual blocks: finds them, measures how much they change their input, and removes some.

A block adds something to its input and gives a result of the same shape, so the network still runs if the input passes
unchanged. How much a block changes is one minus the cosine between its input and output (Men et al., "ShortGPT", 2024).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from edgecomp.compression.data import example_inputs, show
from edgecomp.compression.protection import protector
from edgecomp.compression.pruning.blocks import BlockPruning
from edgecomp.compression.pruning.trace import record
from edgecomp.compression.replacement import replace_modules
from edgecomp.compression.size import macs
from edgecomp.errors import InputError
from edgecomp.step import Changed
from edgecomp.workbench import Workbench

#: Operators that add; not `aten.addmm`, which is a product with a bias.
_SUMS = ("aten.add.Tensor", "aten.add_.Tensor")


class Skipped(torch.nn.Module):
    """Takes the place of a removed block; a block may get further arguments, such as a mask."""

    def forward(self, given: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
        """Returns the first argument."""
        return given


def prune_blocks(module: torch.nn.Module, bench: Workbench, settings: BlockPruning) -> Changed:
    """Removes residual blocks from a module, in place.

    Args:
        module: The module to prune.
        bench: Provides example inputs, and the calibration data that show how much blocks change.
        settings: See `BlockPruning`.

    Returns:
        The module, and as facts how much each block changes and which ones were removed.

    Raises:
        InputError: The budget cannot be met, or a protected block does not exist.
        DataError: There are no calibration data.
    """
    inputs = example_inputs(bench)
    subject = f"{bench.source.name}: the step {settings.kind}"
    protected = protector(module, settings.protected, subject, blocks=True)
    names = [name for name in residual_blocks(module, inputs) if not protected(name)]
    batches = (tuple(map(torch.tensor, batch)) for batch in bench.calibration_batches("blocks"))
    changes = influence(module, names, batches) if names else {}
    whole = macs(module, bench.source.inputs)
    left, removed = whole, []
    for name in sorted(names, key=lambda each: changes[each]):
        if left <= settings.keep * whole:
            break
        replace_modules(module, {module.get_submodule(name): Skipped()})
        removed.append(name)
        left = macs(module, bench.source.inputs)
    if left > settings.keep * whole:
        raise InputError(
            subject,
            expected=f"at most {settings.keep * whole:.0f} multiplications, {settings.keep:.1%} of {whole}",
            actual=f"the smallest is {left}, {left / whole:.1%}, without all of its {len(names)} residual blocks",
            cure=f"set keep to {left / whole + 0.0005:.3f} or more, or remove channels with prune-channels",
        )
    facts = {"influence": changes, "removed": removed, "kept": round(left / whole, 4)}
    return Changed(module, facts)


def residual_blocks(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> list[str]:
    """Returns the paths of removable modules: those that add to their input and that the network runs without.

    Args:
        module: Left as it is.
        inputs: Example inputs.
    """
    seen: dict[str, torch.Tensor] = {}
    calls: Counter[str] = Counter()

    def note(name: str) -> Any:
        def hook(child: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
            calls[name] += 1
            tensors = bool(args) and isinstance(args[0], torch.Tensor) and isinstance(output, torch.Tensor)
            if tensors and args[0].shape == output.shape:
                seen[name] = args[0]

        return hook

    handles = [child.register_forward_hook(note(name)) for name, child in module.named_modules() if name]
    trace = record(module, inputs)
    for handle in handles:
        handle.remove()
    adding = {
        call.owner
        for call in trace.calls
        if call.name in _SUMS and any(tensor is seen.get(call.owner) for tensor in call.tensors)
    }
    return [name for name in seen if name in adding and calls[name] == 1 and _runs_without(module, name, inputs)]


def influence(
    module: torch.nn.Module, names: Sequence[str], batches: Iterable[tuple[torch.Tensor, ...]]
) -> dict[str, float]:
    """Measures how much blocks change their input, from 0 (not at all) to 2.

    Args:
        module: Left as it is.
        names: Paths of the blocks.
        batches: The module's inputs, batch by batch.
    """
    found: dict[str, list[torch.Tensor]] = {name: [] for name in names}

    def note(name: str) -> Any:
        def hook(child: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
            found[name].append(torch.nn.functional.cosine_similarity(args[0].flatten(1), output.flatten(1)))

        return hook

    handles = [module.get_submodule(name).register_forward_hook(note(name)) for name in names]
    show(module, batches, handles)
    return {name: round(1 - float(torch.cat(each).mean()), 6) for name, each in found.items()}


def _runs_without(module: torch.nn.Module, name: str, inputs: Sequence[torch.Tensor]) -> bool:
    trial = copy.deepcopy(module)
    replace_modules(trial, {trial.get_submodule(name): Skipped()})
    return record(trial, inputs).failure is None
