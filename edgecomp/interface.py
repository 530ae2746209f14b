"""An artifact's description of itself: inputs, outputs and precision, as JSON that any format can store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edgecomp.errors import DataError, SourceError
from edgecomp.precision import NAMES, Precision

#: The metadata key of the JSON.
METADATA_KEY = "edgecomp"
SCHEMA = 1


def module_in_name(name: str) -> str:
    """Returns the module in a name: "a.b" in "a.b/Conv_output", or in torch.onnx's "/a/b/Conv"; else ""."""
    if name.startswith("/"):
        path: list[str] = []
        for scope in name.split("/")[1:-1]:
            # A member of a container carries the container's name too: "/layers/layers.0/Conv".
            if path and scope.startswith(f"{path[-1]}."):
                path.pop()
            path.append(scope)
        return ".".join(path)
    return name.partition("/")[0] if "/" in name else ""


def format_shape(shape: Sequence[int | None], multiples: Sequence[int] = (), smallest: Sequence[int] = ()) -> str:
    """Formats a shape, with "any" or "any multiple of 8 from 32 on" for dynamic dimensions."""
    words = ["any" if size is None else str(size) for size in shape]
    for axis, factor in enumerate(multiples):
        words[axis] += f" multiple of {factor}" if factor > 1 else ""
    for axis, least in enumerate(smallest):
        words[axis] += f" from {least} on" if least else ""
    return "(" + ", ".join(words) + ")"


def unfit_size(shapes: Iterable[Sequence[int]], actual: str) -> DataError:
    """Returns the error for inputs of sizes that a runtime cannot compute.

    Args:
        shapes: The shapes of the inputs.
        actual: What the runtime said.
    """
    return DataError(
        f"inputs of shape {', '.join(str(tuple(shape)) for shape in shapes)}",
        expected="a size that the file was made for",
        actual=" ".join(actual.split()),
        cure="give another size, or convert the model again with --shape for this one",
    )


@dataclass(frozen=True)
class TensorInterface:
    """One input or output of an artifact, as the artifact stores it.

    Attributes:
        name: The source model's name for it.
        dtype: numpy dtype name as stored: "float32", "int8", "int64".
        shape: As stored; None where dynamic.
        permutation: The source's dimensions in stored order: (0, 2, 3, 1) for NHWC from NCHW; None when equal.
        scale: Quantization step when `dtype` is an integer that stands for a real number, else None.
        zero_point: Goes with `scale`.
        source_dtype: The dtype that the source model takes or gives.
        multiples: In the source's order, what a size has to be a multiple of; empty where any sizes do.
        smallest: In the source's order, the smallest size that was verified; 0 where that is 1, empty where all are 0.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    permutation: tuple[int, ...] | None = None
    scale: float | None = None
    zero_point: int | None = None
    source_dtype: str = "float32"
    multiples: tuple[int, ...] = ()
    smallest: tuple[int, ...] = ()

    @property
    def source_shape(self) -> tuple[int | None, ...]:
        """The shape in the source's layout."""
        if self.permutation is None:
            return self.shape
        return tuple(size for _, size in sorted(zip(self.permutation, self.shape, strict=True)))

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether an array of a shape, in the source's layout, fits."""
        wanted = self.source_shape
        if len(shape) != len(wanted):
            return False
        if any(given % factor for given, factor in zip(shape, self.multiples, strict=False)):
            return False
        if any(given < least for given, least in zip(shape, self.smallest, strict=False)):
            return False
        return all(size is None or size == given for size, given in zip(wanted, shape, strict=True))

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> TensorInterface:
        """Reads what `asdict` gave."""
        permutation = fields.get("permutation")
        if permutation is not None and sorted(permutation) != list(range(len(fields["shape"]))):
            raise ValueError(f"permutation {permutation} of the shape {fields['shape']}")
        return cls(
            **{
                **fields,
                "shape": tuple(fields["shape"]),
                "multiples": tuple(fields.get("multiples", ())),
                "smallest": tuple(fields.get("smallest", ())),
                "permutation": None if permutation is None else tuple(permutation),
            }
        )


@dataclass(frozen=True)
class Interface:
    """All inputs and outputs of an artifact, in its order, and where its tensors come from.

    Attributes:
        inputs: What it takes.
        outputs: What it gives.
        modules: Tensor name -> the module that made it, where the name does not say so by itself, as that of
            "encoder.conv/Relu_output" does.
        precision: What it was asked for in; None for files from elsewhere.
    """

    inputs: tuple[TensorInterface, ...]
    outputs: tuple[TensorInterface, ...]
    modules: Mapping[str, str] = field(default_factory=dict)
    precision: Precision | None = None

    def module_of(self, tensor: str) -> str:
        """Returns the module of a tensor, or of an intermediate one that a converter created for it ("NAME/part")."""
        name = tensor
        while name:
            if name in self.modules:
                return self.modules[name]
            name = name.rpartition("/")[0]
        return module_in_name(tensor)

    def to_json(self, **more: Any) -> str:
        """One line of JSON, the same for the same interface.

        Args:
            more: Further members, which `from_json` passes over: for formats with a single place for all that is said.
        """
        return json.dumps({"schema": SCHEMA, **asdict(self), **more}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, *, subject: str) -> Interface:
        """Reads what `to_json` wrote.

        Raises:
            SourceError: The text is damaged or from a newer edgecomp.
        """
        try:
            fields = json.loads(text)
            if fields["schema"] > SCHEMA:
                raise ValueError(f"schema {fields['schema']}")
            parts = {part: tuple(map(TensorInterface.from_json, fields[part])) for part in ("inputs", "outputs")}
            modules = {str(name): str(module) for name, module in fields.get("modules", {}).items()}
            precision = fields.get("precision")
            if precision not in {*NAMES, None}:
                raise ValueError(f"precision {precision!r}")
            return cls(**parts, modules=modules, precision=precision)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(
                f"the metadata of {subject}",
                expected=f"edgecomp's description of inputs and outputs, schema {SCHEMA} or older",
                actual=f"{type(error).__name__}: {error}",
                cure="write the artifact again with this version of edgecomp",
            ) from None
