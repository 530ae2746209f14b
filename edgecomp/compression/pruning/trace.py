"""Records the tensor operations of one run of a module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from edgecomp.frontends import structure
from edgecomp.frontends.torch_module import preserving
from edgecomp.system.threads import one_torch_thread

#: Modules that are recorded as one operation: dimensions cannot be followed through the fused kernels inside.
LEAVES = (torch.nn.RNNBase, torch.nn.RNNCellBase)

#: Operations that change no shape. They are skipped if memory is already laid out right, so two runs may differ in
#: them.
_COPIES = {"aten.clone.default", "aten._to_copy.default", "aten.detach.default", "aten.alias.default"}


@dataclass(frozen=True)
class Call:
    """One operation.

    Attributes:
        op: An ATen operator, or the module that stands for one (see `LEAVES`).
        args: Its positional arguments, tensors included.
        kwargs: Its keyword arguments.
        outputs: Its output tensors, in order.
        owner: Path of the innermost module around it; "" for the outermost.
    """

    op: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[torch.Tensor, ...]
    owner: str

    @property
    def name(self) -> str:
        """The operation's name in messages."""
        return type(self.op).__name__ if isinstance(self.op, torch.nn.Module) else str(self.op)

    @property
    def where(self) -> str:
        """The operation and its module."""
        return f"{self.name} in {self.owner or 'the outermost module'}"

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The input tensors."""
        return _tensors((self.args, dict(self.kwargs)))

    @cached_property
    def is_copy(self) -> bool:
        """Whether it only copies."""
        return str(self.op) in _COPIES


@dataclass
class Trace:
    """The record of one run. It keeps every tensor alive, so that their identities stay unique.

    Attributes:
        inputs: The module's inputs.
        calls: The operations, in the order of execution.
        outputs: The module's outputs.
        failure: What forward raised; there are no outputs then.
    """

    inputs: tuple[torch.Tensor, ...]
    calls: list[Call] = field(default_factory=list)
    outputs: tuple[torch.Tensor, ...] = ()
    failure: Exception | None = None

    @property
    def shaping(self) -> list[Call]:
        """The calls without copies."""
        return [call for call in self.calls if not call.is_copy]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types for it
    """Records every operation with the path of the module that runs it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path: list[str] = []
        self.inside_leaf = 0
        self.calls: list[Call] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; the default loads the compiler, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self.inside_leaf:
            self.record(func, args, kwargs or {}, result)
        return result

    def record(self, op: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Records one operation."""
        owner = self.path[-1] if self.path else ""
        self.calls.append(Call(op, tuple(args), dict(kwargs), tuple(_tensors(result)), owner))


def record(module: torch.nn.Module, inputs: Sequence[torch.Tensor], recorder: Recorder | None = None) -> Trace:
    """Runs a module once in eval mode and without gradients, and records what it does.

    Args:
        module: Left as it was.
        inputs: The inputs of its forward.
        recorder: Gets every operation.

    Returns:
        The trace; if forward raises, it ends at the operation that failed.
    """
    trace = Trace(tuple(inputs))
    recorder = recorder or Recorder()
    with preserving(module), torch.no_grad(), one_torch_thread(), _following(module, recorder), recorder:
        try:
            result = module(*trace.inputs)
        except Exception as error:
            trace.failure = error
            result = ()
    trace.calls = recorder.calls
    trace.outputs = tuple(tensor for _, tensor in structure.flatten(result, torch.is_tensor))
    return trace


@contextmanager
def _following(module: torch.nn.Module, recorder: Recorder) -> Iterator[None]:
    """Tells the recorder which module is running."""
    handles = []
    for name, child in module.named_modules():

        def enter(child: torch.nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
            recorder.path.append(name)
            recorder.inside_leaf += isinstance(child, LEAVES)

        def leave(child: torch.nn.Module, args: Any, kwargs: Any, result: Any) -> None:
            if isinstance(child, LEAVES):
                recorder.inside_leaf -= 1
                recorder.record(child, args, kwargs, result)
            recorder.path.pop()

        handles.append(child.register_forward_pre_hook(enter, with_kwargs=True))
        handles.append(child.register_forward_hook(leave, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in _pytree.tree_leaves(values) if isinstance(leaf, torch.Tensor)]
