"""Estimates what an artifact costs on a target without the device: a range of instructions and of time.

1. Multiply-accumulates follow from the shapes in the artifact, for each operator in the precision that it computes in.
2. The target's instruction set says how many of them one SIMD instruction does (`cores.toml`, [[lanes]]). How many
   instructions go with each of these was counted for every runtime in emulated runs of two networks ([overhead]).
3. A core takes between 1 / `decode` cycles (all decoders busy) and 1 cycle (one at a time) for an instruction. The time
   is never below the roofline (Williams, Waterman and Patterson, 2009): multiplications over the SIMD peak, or bytes
   over the memory bandwidth if that is documented.
4. What is not documented is left out: for a core that is not in `cores.toml` there are instructions, but no time.

`calibration.py` improves estimates with measurements of the same device.
"""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgecomp.inspection import Inspection, Node
from edgecomp.target import Cluster, TargetProfile

#: The arithmetic of each precision, where the names differ.
_ARITHMETIC = {
    "uint8": "int8",
    "int16x8": "int8",
    "dynamic-int8": "int8",
    "dynamic-int4": "int8",
    "bfloat16": "float32",
}


@dataclass(frozen=True)
class Range:
    """A range from the best possible to the worst likely value."""

    low: float
    high: float


@dataclass(frozen=True)
class NodeEstimate:
    """The estimate for one operator that multiplies.

    Attributes:
        position: Its index in `Contents.nodes`.
        name: Its name in the artifact.
        op_type: Its operator in the artifact.
        arithmetic: The arithmetic of its multiplications: "float32", "float16" or "int8".
        macs: Multiply-accumulates.
        nbytes: Bytes of inputs, weights and outputs.
        instructions: The instructions of one inference.
    """

    position: int
    name: str
    op_type: str
    arithmetic: str
    macs: int
    nbytes: int
    instructions: Range

    @property
    def intensity(self) -> float:
        """Multiply-accumulates per byte."""
        return self.macs / max(self.nbytes, 1)


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of one inference.

    Attributes:
        target: The target's name.
        core: The core that the estimate is for, with its clock in MHz; None without documented facts.
        macs: Multiply-accumulates.
        nbytes: Bytes of all operators' inputs, weights and outputs: the memory traffic if no cache helps.
        arena: Bytes of activations in one arena.
        instructions: In total.
        milliseconds: On one thread; None without documented facts.
        nodes: Each operator that multiplies, in the order of execution.
        measurements: The number of measured artifacts that the time is based on, besides documented facts.
    """

    target: str
    core: str | None
    macs: int
    nbytes: int
    arena: int
    instructions: Range
    milliseconds: Range | None
    nodes: tuple[NodeEstimate, ...]
    measurements: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Returns the same as plain data, marked as an estimate."""
        return {"estimate": True} | asdict(self)


def estimate(inspection: Inspection, profile: TargetProfile) -> Estimate:
    """Estimates an artifact on a target.

    Args:
        inspection: The inspection of the artifact.
        profile: The profile of the target.
    """
    nodes = tuple(
        _node(inspection, position, macs, profile) for position, macs in sorted(inspection.macs.by_node.items())
    )
    instructions = Range(sum(n.instructions.low for n in nodes), sum(n.instructions.high for n in nodes))
    cluster = profile.cpu.clusters[0] if profile.cpu.clusters else None
    nbytes = sum(_traffic(inspection, node) for _, node in inspection.contents.computing())
    return Estimate(
        profile.name,
        f"{cluster.core} at {cluster.max_mhz} MHz" if cluster and cluster.max_mhz else None,
        inspection.macs.total,
        nbytes,
        inspection.memory.arena,
        instructions,
        _milliseconds(instructions, nodes, nbytes, cluster, profile),
        nodes,
    )


def lanes(arithmetic: str, profile: TargetProfile) -> int:
    """Returns the multiply-accumulates of one SIMD instruction on a target; 1 if no such instruction is listed."""
    rows = (row for row in facts()["lanes"] if row["precision"] == arithmetic)
    return next((int(row["macs"]) for row in rows if row["feature"] in profile.cpu.features), 1)


def overhead(format_name: str, arithmetic: str) -> Range:
    """Returns the instructions per SIMD multiplication in a runtime, or over all runtimes if it was not counted."""
    counted = facts()["overhead"]
    kind = "int8" if arithmetic == "int8" else "float32"
    rows = [counted[format_name][kind]] if format_name in counted else [row[kind] for row in counted.values()]
    return Range(min(low for low, _ in rows), max(high for _, high in rows))


@functools.cache
def facts() -> Mapping[str, Any]:
    """Returns the content of `cores.toml`."""
    return tomllib.loads(importlib.resources.files("edgecomp.estimation").joinpath("cores.toml").read_text("utf-8"))


def _node(inspection: Inspection, position: int, macs: int, profile: TargetProfile) -> NodeEstimate:
    node = inspection.contents.nodes[position]
    arithmetic = _ARITHMETIC.get(node.precision, node.precision)
    if arithmetic == "float16" and "fp16" not in profile.cpu.features:
        arithmetic = "float32"
    around = overhead(inspection.format, arithmetic)
    multiplications = macs / lanes(arithmetic, profile)
    instructions = Range(around.low * multiplications, around.high * multiplications)
    return NodeEstimate(position, node.name, node.op_type, arithmetic, macs, _traffic(inspection, node), instructions)


def _traffic(inspection: Inspection, node: Node) -> int:
    """Returns the bytes that an operator reads and writes; tensors of unknown size are left out."""
    tensors = [inspection.contents.tensors[index] for index in (*node.inputs, *node.outputs) if index is not None]
    return sum((tensor.stored if tensor.stored is not None else tensor.nbytes) or 0 for tensor in tensors)


def _milliseconds(
    instructions: Range,
    nodes: tuple[NodeEstimate, ...],
    nbytes: int,
    cluster: Cluster | None,
    profile: TargetProfile,
) -> Range | None:
    """Estimates the time by rules 3 and 4."""
    core = facts()["cores"].get(cluster.core) if cluster else None
    if core is None or cluster is None or cluster.max_mhz is None:
        return None
    cycles_per_ms = cluster.max_mhz * 1000
    # Winograd kernels multiply less than the shapes suggest, so there may be fewer instructions than multiplications.
    multiplications = sum(min(node.macs / lanes(node.arithmetic, profile), node.instructions.low) for node in nodes)
    peak = multiplications / core["simd"] / cycles_per_ms
    bandwidth = profile.memory.bandwidth_gb_per_s if profile.memory else None
    traffic = nbytes / (bandwidth * 1e6) if bandwidth else 0.0
    low = max(instructions.low / core["decode"] / cycles_per_ms, peak)
    return Range(low, max(instructions.high / cycles_per_ms, peak) + traffic)
