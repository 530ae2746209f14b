"""What every frontend gives: a model as a graph, with the original to compare it with and the data that came along."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecomp.arrays import Array, Arrays
from edgecomp.data import InputSpec
from edgecomp.model import Step
from edgecomp.shapes import InputShapes
from edgecomp.verification.metrics import Metrics

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

    from edgecomp.frontends.pictures import Preprocessing

#: Gives a sample of the data that a model is used with, for inputs of these forms; None where there is none.
Sample = Callable[[Sequence[InputSpec]], Arrays | None]


def nothing() -> None:
    """What a source releases that holds nothing."""


@dataclass(frozen=True)
class Source:
    """A model as the user brought it.

    Attributes:
        name: Short name for files and reports: the task file's stem, the module's class, the model file's stem.
        graph: The raw ONNX model in memory, named inputs and outputs, static shapes but for the dimensions that
            `dynamic` names; QuantizeLinear and
            DequantizeLinear nodes of a QDQ model are still in it. A node that comes from a torch module carries that
            module's path in `metadata_props["edgecomp.module"]`, "" standing for the outermost module; nodes of plain
            ONNX files carry no such key.
        inputs: One example per graph input, in graph order, with the graph's dtypes and shapes, dynamic dimensions at
            their example sizes.
        reference: Runs the original on such arrays and gives one array per graph output: the torch module in eval
            mode under `inference_mode`, or the raw ONNX file in ONNX Runtime.
        step: Provenance: which exporter with which opset, versions, hashes, the difference to the original.
        notes: Choices made for the user that a report should show, as whole sentences.
        dynamic: Which dimensions of the inputs are dynamic; None when none is.
        release: Frees memory that `reference` holds and would take again.
        module: The torch module, when the source is one; training-time compression works on it.
        remake: Makes the same source of another module with the same inputs and outputs, without the task's functions.
        history: What was done to the module before the export.
        calibration_data: Opens the calibration items, each a tuple of arrays; nothing is read before the call.
            Validate and store what it gives with `edgecomp.data.collect_calibration`.
        train_data: Opens `(inputs, labels)` items for training, `labels` an array.
        evaluation_data: Opens `(inputs, labels)` items that were not trained on.
        loss: The task's `loss(outputs, labels)`, untouched: torch in, torch out.
        student: Gives a module with the same inputs and outputs, for a distillation to train.
        teachers: Gives modules for it to learn from.
        train: The task's own training loop, `train(module, objective, batches, settings)`, in place of edgecomp's.
        on_epoch: The task's `on_epoch(module, epoch)`, called after each epoch of edgecomp's loop; True ends it.
        metrics: What to measure on what `reference` gives and labels.
        labels: Class names, by index.
        preprocessing: How a picture becomes the input, when the task says so.
    """

    name: str
    graph: ir.Model = field(repr=False)
    inputs: Arrays = field(repr=False)
    reference: Callable[[Arrays], list[Array]] = field(repr=False)
    step: Step
    notes: tuple[str, ...] = ()
    dynamic: InputShapes | None = None
    release: Callable[[], None] = field(default=nothing, repr=False)
    module: torch.nn.Module | None = None
    remake: Callable[[torch.nn.Module], Source] | None = field(default=None, repr=False)
    history: tuple[Step, ...] = ()
    calibration_data: Callable[[], Iterable[Any]] | None = None
    train_data: Callable[[], Iterable[Any]] | None = None
    evaluation_data: Callable[[], Iterable[Any]] | None = None
    loss: Callable[..., Any] | None = None
    student: Callable[[], Any] | None = None
    teachers: Callable[[], Any] | None = None
    train: Callable[..., Any] | None = None
    on_epoch: Callable[..., Any] | None = None
    metrics: Metrics | None = None
    labels: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None

    @property
    def input_specs(self) -> tuple[InputSpec, ...]:
        """Name, dtype and shape of every input, as the data must have them."""
        names = [str(value.name) for value in self.graph.graph.inputs]
        shapes = {} if self.dynamic is None else self.dynamic.inputs
        symbols = [tuple(None if isinstance(size, int) else size for size in shapes.get(name, ())) for name in names]
        rows = zip(names, self.inputs, symbols, strict=True)
        return tuple(InputSpec(name, example.dtype.name, example.shape, free) for name, example, free in rows)

    def answers(self, inputs: Arrays) -> bool:
        """Whether the original gives finite numbers: at a size that it was not shown, it may raise anything."""
        try:
            outputs = self.reference(inputs)
        except Exception:
            return False
        return all(bool(np.isfinite(array).all()) for array in outputs if array.dtype.kind == "f")
