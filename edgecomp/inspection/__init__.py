"""What is inside an artifact: its graph, and the figures that follow from it.

A converter only reads its file into `Contents`. Counts, memory, multiplications and float islands are computed here,
in the same way for every format.

    contents.py  the graph of an artifact, the same for every format
    islands.py   float islands
    macs.py      multiply-accumulate operations
    memory.py    the memory that activations need
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from edgecomp.inspection.contents import Contents, Node, Quantization, Tensor
from edgecomp.inspection.islands import Island, find_islands
from edgecomp.inspection.macs import Multiplications, multiplications
from edgecomp.inspection.memory import Memory, plan_memory
from edgecomp.interface import METADATA_KEY, Interface, TensorInterface
from edgecomp.precision import Precision

__all__ = [
    "Contents",
    "Inspection",
    "Island",
    "Memory",
    "Multiplications",
    "Node",
    "OperatorCount",
    "Quantization",
    "Signature",
    "Tensor",
]


@dataclass(frozen=True)
class OperatorCount:
    """The number of times that an operator occurs in an artifact at one precision."""

    op_type: str
    precision: str
    count: int


@dataclass(frozen=True)
class Signature:
    """A named entry point of a TFLite file, with the names of its inputs and outputs."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """The content of an artifact.

    Attributes:
        format: The converter's name.
        size: Bytes on disk.
        inputs: In the artifact's order.
        outputs: In the artifact's order.
        contents: Its graph.
        metadata: The file's own metadata.
        signatures: The signatures, in formats that have any.
    """

    format: str
    size: int
    inputs: tuple[TensorInterface, ...]
    outputs: tuple[TensorInterface, ...]
    contents: Contents = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    signatures: tuple[Signature, ...] = ()

    @cached_property
    def operators(self) -> tuple[OperatorCount, ...]:
        """The number of operators by type and precision, most frequent first, including those of inner graphs."""
        nodes = (*self.contents.nodes, *self.contents.inner)
        counted = Counter((node.op_type, node.precision) for node in nodes)
        return tuple(OperatorCount(*pair, count) for pair, count in counted.most_common())

    @cached_property
    def weights(self) -> dict[str, int]:
        """Bytes of constants by dtype, largest first."""
        sizes: Counter[str] = Counter()
        for tensor in self.contents.tensors:
            if tensor.stored is not None:
                sizes[tensor.dtype] += tensor.stored
        return {dtype: size for dtype, size in sizes.most_common() if size}

    @property
    def weight_bytes(self) -> int:
        """Bytes of constants."""
        return sum(self.weights.values())

    @cached_property
    def memory(self) -> Memory:
        """The memory that activations need."""
        return plan_memory(self.contents)

    @cached_property
    def macs(self) -> Multiplications:
        """The multiply-accumulates of one run."""
        return multiplications(self.contents)

    @cached_property
    def islands(self) -> tuple[Island, ...]:
        """Groups of float operators in an artifact that computes in integers."""
        return find_islands(self.contents)

    @cached_property
    def precision(self) -> Precision | None:
        """The precision that the file was written with; None for files that edgecomp did not write."""
        text = self.metadata.get(METADATA_KEY)
        return None if text is None else Interface.from_json(text, subject="the file").precision

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain data, in the form of `edgecomp inspect --json`."""
        return {
            "format": self.format,
            "size": self.size,
            "precision": self.precision,
            "inputs": [asdict(tensor) for tensor in self.inputs],
            "outputs": [asdict(tensor) for tensor in self.outputs],
            "signatures": [asdict(signature) for signature in self.signatures],
            "operators": [asdict(entry) for entry in self.operators],
            "weight_bytes": self.weight_bytes,
            "weights": self.weights,
            "memory": asdict(self.memory),
            "macs": asdict(self.macs),
            "islands": [asdict(island) for island in self.islands],
            "metadata": dict(self.metadata),
            "graph": asdict(self.contents),
        }
