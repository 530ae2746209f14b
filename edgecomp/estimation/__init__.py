"""What an artifact may cost on a target, before anybody has the device: a range, and an estimate.

1. Multiply-accumulates come from the shapes in the artifact, for each operator in the precision that it computes in.
2. A SIMD instruction does as many of them as the target's instruction set says (`cores.toml`, [[lanes]]); how many
   instructions go with each is what emulated runs of two networks counted for the runtime ([overhead]).
3. A core takes between 1 / `decode` cycles (all ways in use) and 1 cycle (one at a time) for an instruction. The time
   is never below the roofline (Williams, Waterman and Patterson, 2009): multiplications over the SIMD peak, or bytes
   over the memory's bandwidth where that is documented.
4. What nobody documents is left out: a core that `cores.toml` does not have gets instructions and no time.

`calibration.py` holds estimates against measurements of the same device.
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

#: What a node's precision is multiplied in.
_ARITHMETIC = {
    "uint8": "int8",
    "int16x8": "int8",
    "dynamic-int8": "int8",
    "dynamic-int4": "int8",
    "bfloat16": "float32",
}


@dataclass(frozen=True)
class Range:
    """From the best that can be to the worst that is likely."""

    low: float
    high: float


@dataclass(frozen=True)
class NodeEstimate:
    """One operator that multiplies.

    Attributes:
        position: Its place in `Contents.nodes`.
        name: As the artifact calls it.
        op_type: Likewise.
        arithmetic: What it multiplies in: "float32", "float16" or "int8".
        macs: Multiply-accumulates.
        nbytes: Inputs, weights and outputs.
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
        """Multiply-accumulates for each byte."""
        return self.macs / max(self.nbytes, 1)


@dataclass(frozen=True)
class Estimate:
    """What one inference may cost.

    Attributes:
        target: The target's name.
        core: The core that it was estimated for, with its clock in MHz; None without documented facts.
        macs: Multiply-accumulates.
        nbytes: Bytes of all operators' inputs, weights and outputs: what passes when no cache helps.
        arena: Bytes of activations in one arena.
        instructions: In total.
        milliseconds: On one thread; None without documented facts.
        nodes: Each operator that multiplies, in the order of execution.
        measurements: How many measured artifacts the time rests on, besides documented facts.
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
        """The same as plain data, marked as what it is."""
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
    """Multiply-accumulates of one SIMD instruction on a target; 1 where it has none that is listed."""
    rows = (row for row in facts()["lanes"] if row["precision"] == arithmetic)
    return next((int(row["macs"]) for row in rows if row["feature"] in profile.cpu.features), 1)


def overhead(format_name: str, arithmetic: str) -> Range:
    """Instructions that go with each SIMD multiplication in a runtime; where it was not counted, in any that was."""
    counted = facts()["overhead"]
    kind = "int8" if arithmetic == "int8" else "float32"
    rows = [counted[format_name][kind]] if format_name in counted else [row[kind] for row in counted.values()]
    return Range(min(low for low, _ in rows), max(high for _, high in rows))


@functools.cache
def facts() -> Mapping[str, Any]:
    """`cores.toml`."""
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
    """Bytes that an operator reads and writes; tensors of unknown size are left out."""
    tensors = [inspection.contents.tensors[index] for index in (*node.inputs, *node.outputs) if index is not None]
    return sum((tensor.stored if tensor.stored is not None else tensor.nbytes) or 0 for tensor in tensors)


def _milliseconds(
    instructions: Range,
    nodes: tuple[NodeEstimate, ...],
    nbytes: int,
    cluster: Cluster | None,
    profile: TargetProfile,
) -> Range | None:
    """Rules 3 and 4."""
    core = facts()["cores"].get(cluster.core) if cluster else None
    if core is None or cluster is None or cluster.max_mhz is None:
        return None
    cycles_per_ms = cluster.max_mhz * 1000
    # Winograd's kernels multiply less than the shapes say: then there are fewer instructions than those would take.
    multiplications = sum(min(node.macs / lanes(node.arithmetic, profile), node.instructions.low) for node in nodes)
    peak = multiplications / core["simd"] / cycles_per_ms
    bandwidth = profile.memory.bandwidth_gb_per_s if profile.memory else None
    traffic = nbytes / (bandwidth * 1e6) if bandwidth else 0.0
    low = max(instructions.low / core["decode"] / cycles_per_ms, peak)
    return Range(low, max(instructions.high / cycles_per_ms, peak) + traffic)
