"""Finds the channels that can be removed without changing the module's Python code, by trying.

Code may have sizes written into it: `x[:, :32]`, `x.view(n, t, c)`, a number of heads in an attribute. A recorded run
does not show where a number came from. So every kind of group is partly removed from a copy, and the copy is run: each
of its operations must give exactly the shape that the labels predict. If one does not, the next way to split the
dimension is tried; if none works, the channels are left alone.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import zip_longest

import torch

from edgecomp.compression.pruning.costs import kept
from edgecomp.compression.pruning.coupling import Coupling, Group, Member, Removed, couple
from edgecomp.compression.pruning.reshapes import Carrier
from edgecomp.compression.pruning.surgery import cut
from edgecomp.compression.pruning.trace import Call, Trace, record
from edgecomp.errors import SourceError

#: The next way to try if code does not follow.
_NEXT: dict[Carrier, Carrier] = {"outer": "inner", "inner": "none"}

#: Returns why a dimension has to stay, or None.
Pin = Callable[[Member], str | None]

#: The positions of a group's dimensions in the code.
Kind = frozenset[tuple[str, str, int]]


def prunable(
    module: torch.nn.Module,
    inputs: Sequence[torch.Tensor],
    pinned: Pin = lambda member: None,
    subject: str = "the model",
) -> Coupling:
    """Finds what can be removed from a module, and checks it by trying.

    Args:
        module: Left as it is.
        inputs: Example inputs.
        pinned: Returns why a dimension of a stored tensor has to stay, or None.
        subject: The module's name in error messages.

    Raises:
        SourceError: The module does not run, or its forward does something else on every run.
    """
    trace = record(module, inputs)
    if trace.failure is not None:
        raise SourceError(
            subject,
            expected="a module that runs on its example inputs",
            actual=f"{type(trace.failure).__name__}: {trace.failure}",
            cure="make `model()(*example_inputs())` run",
        ) from trace.failure
    _check_steady(module, trace, subject)
    search = _Search(module, trace, pinned)
    while (failure := search.find_failure()) is not None:
        search.avoid(*failure)
    return search.coupling


def _check_steady(module: torch.nn.Module, trace: Trace, subject: str) -> None:
    """Checks that forward runs the same operations for other values, because one recorded run has to stand for all.

    Raises:
        SourceError: It takes another path for other values.
    """
    generator = torch.Generator().manual_seed(0)
    others = [
        torch.randn(each.shape, generator=generator).to(each) if each.is_floating_point() else each
        for each in trace.inputs
    ]
    again = record(module, others)
    if again.failure is not None:  # a module that rejects random values may still take real ones
        return
    for call, other in zip_longest(trace.shaping, again.shaping):
        if call is None or other is None or call.name != other.name:
            raise SourceError(
                subject,
                expected="a module whose forward does the same for all inputs",
                actual=f"for other numbers it takes another path, at {(call or other).where}",
                cure="write the choice with torch.where, or leave out the step",
            )


class _Search:
    """Tries groups, and gives up those that the code does not follow."""

    def __init__(self, module: torch.nn.Module, trace: Trace, pinned: Pin) -> None:
        self._module, self._trace, self._pinned = module, trace, pinned
        self._modules = dict(module.named_modules())
        self._carriers: dict[str, Carrier] = dict.fromkeys(map(self._code_of, _attending(trace)), "outer")
        self._reasons: dict[tuple[str, str, int], str] = {}
        self._passed: set[Kind] = set()
        self.coupling = self._couple()

    def find_failure(self) -> tuple[list[Group], Call] | None:
        """Returns groups that cannot be removed together and the operation that shows it; None if all groups can."""
        everything = list(self.coupling.groups)
        call = self._mismatch(everything)
        if call is None:
            return None
        kinds: dict[Kind, list[Group]] = defaultdict(list)
        for group in everything:
            kinds[frozenset(map(self._place_of, group.members))].append(group)
        for kind, groups in kinds.items():
            if kind not in self._passed:
                found = self._mismatch(groups)
                if found is not None:
                    return groups, found
                self._passed.add(kind)
        touched = self._units_of(call)
        return [group for group in everything if touched.intersection(group.units.tolist())] or everything, call

    def avoid(self, groups: Sequence[Group], call: Call) -> None:
        """Splits dimensions another way, or leaves the groups alone."""
        code = self._code_of(call.owner)
        carrier = self._carriers.get(code, "inner")
        removed = {unit for group in groups for unit in group.units.tolist()}
        split = {unit for each in self.coupling.splits if self._code_of(each.owner) == code for unit in each.units}
        if carrier in _NEXT and removed & split:
            self._carriers[code] = _NEXT[carrier]
        else:
            reason = f"the code of {code.rpartition('.')[2]} expects its size: {call.where}"
            self._reasons.update((self._place_of(member), reason) for group in groups for member in group.members)
        self.coupling = self._couple()

    def _couple(self) -> Coupling:
        return couple(
            self._module,
            self._trace,
            lambda call: self._carriers.get(self._code_of(call.owner), "inner"),
            lambda member: self._pinned(member) or self._reasons.get(self._place_of(member)),
        )

    def _mismatch(self, groups: Sequence[Group]) -> Call | None:
        """Returns the first operation with another shape than predicted when every group loses a unit."""
        removed = self.coupling.nothing()
        for group in groups:
            removed[group.units[-1]] = True
        trial = copy.deepcopy(self._module)
        cut(trial, self.coupling, removed)
        return first_mismatch(self.coupling, record(trial, self._trace.inputs), removed)

    def _units_of(self, call: Call) -> set[int]:
        labels = self.coupling.shapes[self._trace.calls.index(call)]
        return {unit for each in labels for units in each for unit in units.tolist()}

    def _place_of(self, member: Member) -> tuple[str, str, int]:
        """Returns a dimension's position in the code, the same for all instances of a class."""
        owner = self._author_of(member.tensor.rpartition(".")[0])
        return _class_name(self._modules[owner]), member.tensor.removeprefix(owner), member.axis

    def _code_of(self, path: str) -> str:
        """Returns the class whose code runs in a module."""
        return _class_name(self._modules[self._author_of(path)])

    def _author_of(self, path: str) -> str:
        """Returns the innermost enclosing module outside torch.nn; PyTorch's own code takes sizes from the tensors."""
        while path and type(self._modules[path]).__module__.startswith("torch.nn"):
            path = path.rpartition(".")[0]
        return path


def first_mismatch(coupling: Coupling, trace: Trace, removed: Removed) -> Call | None:
    """Returns the first operation of the whole module that gives another shape, or is missing, in the smaller one."""
    calls = [
        (call, shapes) for call, shapes in zip(coupling.trace.calls, coupling.shapes, strict=True) if not call.is_copy
    ]
    for (call, shapes), other in zip_longest(calls, trace.shaping[: len(calls)]):
        if other is None:
            return call
        expected = [tuple(kept(units, removed) for units in labels) for labels in shapes]
        if other.name != call.name or [tuple(tensor.shape) for tensor in other.outputs] != expected:
            return call
    return None


def _attending(trace: Trace) -> set[str]:
    """Returns the modules that multiply two computed matrices, as attention does for each head."""
    return {call.owner for call in trace.calls if any(word in call.name for word in ("bmm", "scaled_dot_product"))}


def _class_name(module: torch.nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
