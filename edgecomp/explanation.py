"""Explains why an artifact is not faster on a target, with what each remedy may gain.

Each rule is a small function in `RULES` that examines one artifact with all known facts (`Case`) and yields findings. A
gain is the share of the estimated instructions that the remedy may save; None if it is unknown. Shares are of the
measured time if operators were timed, else of the estimated instructions. A measurement from another machine than the
target is reported as such, and not used otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgecomp.devices.results import made_on
from edgecomp.estimation import Estimate, NodeEstimate, lanes, overhead
from edgecomp.inspection import Inspection, Node
from edgecomp.inspection.islands import SHORES
from edgecomp.target import TargetProfile

_DEPTHWISE = ("DEPTHWISE_CONV_2D", "ConvolutionDepthwise")
_CONVOLUTIONS = ("CONV_2D", "Convolution", "Conv", "QLinearConv", "FusedConv")
#: Steps that set weights to zero without reducing shapes.
_UNSTRUCTURED = ("prune-weights", "prune-weights-gradually")
#: Multiply-accumulates of one dot product instruction.
_DOT_PRODUCT = 16
#: Bytes of one load and of one SIMD register. With less than a register of multiplications for each load, memory is
#: more likely to be the limit than arithmetic.
_LOAD_BYTES = _SIMD_BYTES = 16
#: The smallest share of an inference for which a remedy is worth mentioning.
_WORTH_SAYING = 0.005
#: Kinds of operators that a finding lists.
_KINDS = 6


@dataclass(frozen=True)
class Finding:
    """One reason.

    Attributes:
        where: The layer, or "the whole model", or "the measurement".
        why: What slows it down.
        remedy: What can be done.
        gain: Share of the inference that it may save, 0 to 1; None when nobody knows.
    """

    where: str
    why: str
    remedy: str
    gain: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Case:
    """All known facts about an artifact.

    Attributes:
        inspection: What is in it.
        estimate: What it may cost.
        profile: The target.
        result: What bench.py measured; None without a measurement.
        provenance: The steps that made it, as the manifest has them.
    """

    inspection: Inspection
    estimate: Estimate
    profile: TargetProfile
    result: Mapping[str, Any] | None = None
    provenance: Sequence[Mapping[str, Any]] = ()

    @property
    def core(self) -> str:
        """The target's core, in words."""
        clusters = self.profile.cpu.clusters
        return clusters[0].core if clusters else self.profile.title

    def share(self, node: NodeEstimate) -> float:
        """Returns the share of the inference that a node takes."""
        return self.measured.get(node.name, node.instructions.high / max(self.estimate.instructions.high, 1.0))

    @property
    def measured(self) -> dict[str, float]:
        """Operator -> its share of the time; empty if operators were not timed."""
        rows = (self.result or {}).get("profile") or []
        total = sum(row["mean_ms"] for row in rows)
        return {row["name"]: row["mean_ms"] / total for row in rows} if total else {}

    def multiplying(self, *op_types: str) -> Iterator[tuple[NodeEstimate, Node]]:
        """The nodes of some types that multiply."""
        for entry in self.estimate.nodes:
            if entry.op_type in op_types:
                yield entry, self.inspection.contents.nodes[entry.position]

    def channels(self, node: Node) -> tuple[int, int] | None:
        """Input channels of a group and output channels of a convolution, by its weights; None when not known."""
        weight = node.inputs[3 if node.op_type == "QLinearConv" else 1] if len(node.inputs) > 1 else None
        shape = None if weight is None else self.inspection.contents.tensors[weight].shape
        if shape is None or len(shape) != 4 or None in shape:
            return None
        sizes = [size for size in shape if size is not None]
        return (sizes[3], sizes[0]) if node.op_type == "CONV_2D" else (sizes[1], sizes[0])


def explain(case: Case) -> list[Finding]:
    """Everything that the rules find, the largest gain first and what has no figure last."""
    elsewhere = list(_another_machine(case))
    if elsewhere:
        case = replace(case, result=None)
    found = [finding for rule in RULES for finding in rule(case)]
    return elsewhere + sorted(found, key=lambda finding: -(finding.gain or 0.0))


def _another_machine(case: Case) -> Iterator[Finding]:
    """The measurement is from another machine than the target."""
    if case.result is not None and not made_on(case.result, case.profile):
        machine = case.result["machine"]
        yield Finding(
            "the measurement",
            f"made on {machine['cpu']['model'] or 'another machine'} ({machine['machine']}), no {case.profile.title}",
            "measure there, or name the target that it is with --target; what follows is from estimates",
        )


def all_in_float(case: Case) -> Iterator[Finding]:
    """The model has no integers, although they would be faster."""
    gain = _saved(case)
    if gain >= _WORTH_SAYING and case.estimate.nodes and not any(n.arithmetic == "int8" for n in case.estimate.nodes):
        ratio = lanes("int8", case.profile) // lanes("float32", case.profile)
        yield Finding(
            "the whole model",
            f"all of it multiplies in float; an int8 instruction of {case.core} does {ratio} times as much",
            "`edgecomp compress` with --precision int8 and calibration data",
            gain,
        )


def no_dot_product(case: Case) -> Iterator[Finding]:
    """int8 runs on a core without dot products."""
    integer = [node for node in case.estimate.nodes if node.arithmetic == "int8"]
    have = lanes("int8", case.profile)
    if integer and have < _DOT_PRODUCT:
        yield Finding(
            "the whole model",
            f"{case.core} has no dot product: int8 saves memory traffic, and {_saved(case):.0%} of the instructions",
            "take a core with `dotprod` (Cortex-A55, A76 and later), or fewer channels",
            (1 - have / _DOT_PRODUCT) * sum(map(case.share, integer)),
        )


def _saved(case: Case) -> float:
    """Returns the share of float's instructions that int8 saves in the artifact's runtime, from emulated counts."""
    integer, real = (
        overhead(case.inspection.format, arithmetic).high / lanes(arithmetic, case.profile)
        for arithmetic in ("int8", "float32")
    )
    return max(0.0, 1 - integer / real)


def memory_bound_depthwise(case: Case) -> Iterator[Finding]:
    """Depthwise convolutions do little arithmetic for each byte; the heaviest is named."""
    found = [
        (case.share(entry), _name(node), entry.intensity)
        for entry, node in (*case.multiplying(*_DEPTHWISE), *_depthwise_in_onnx(case))
        if entry.intensity * _LOAD_BYTES < _SIMD_BYTES * lanes(entry.arithmetic, case.profile)
    ]
    total = sum(share for share, *_ in found)
    if total >= _WORTH_SAYING:
        _, name, intensity = max(found)
        yield Finding(
            name + (f" and {len(found) - 1} more" if len(found) > 1 else ""),
            f"depthwise convolutions are bound by memory ({intensity:.1f} multiplications for each byte) and take "
            f"{total:.0%}",
            "fewer channels or a lower resolution before them; a faster arithmetic does not help them",
        )


def _depthwise_in_onnx(case: Case) -> Iterator[tuple[NodeEstimate, Node]]:
    """Yields ONNX convolutions with one input channel in each of many groups; data are (batch, channels, ...)."""
    for entry, node in case.multiplying("Conv", "QLinearConv"):
        sizes, data = case.channels(node), case.inspection.contents.tensors[node.inputs[0] or 0].shape
        if sizes is not None and sizes[0] == 1 and data is not None and data[1] == sizes[1] > 1:
            yield entry, node


def borders(case: Case) -> Iterator[Finding]:
    """The model converts between integers and floats in the middle."""
    nodes = [node for _, node in case.inspection.contents.computing() if node.op_type in SHORES]
    edges = {*case.inspection.contents.inputs, *case.inspection.contents.outputs}
    inner = [node for node in nodes if not edges & {*node.inputs, *node.outputs}]
    if inner:
        time = sum(case.measured.get(node.name, 0.0) for node in inner)
        yield Finding(
            _name(inner[0]) + (f" and {len(inner) - 1} more" if len(inner) > 1 else ""),
            f"{len(inner)} quantize or dequantize operators inside the model" + (f" take {time:.1%}" if time else ""),
            "they go away with the operators in float between them",
            time or None,
        )


def islands(case: Case) -> Iterator[Finding]:
    """A quantized model has groups of float operators; the largest is named."""
    found = case.inspection.islands
    if not found:
        return
    entries = {node.position: node for node in case.estimate.nodes}
    names = {name for island in found for name in island.nodes}
    multiplied = sum(case.share(entries[p]) for island in found for p in island.positions if p in entries)
    share = sum(case.measured.get(name, 0.0) for name in names) or multiplied
    count = sum(len(island.nodes) for island in found)
    kinds = Counter(op_type for island in found for op_type in island.op_types).most_common()
    listed = ", ".join(kind for kind, _ in kinds[:_KINDS]) + (", ..." if len(kinds) > _KINDS else "")
    gain = share * (1 - lanes("float32", case.profile) / lanes("int8", case.profile))
    yield Finding(
        _first(max(found, key=lambda island: len(island.nodes)).nodes[0])
        + (f" and {len(found) - 1} more" if len(found) > 1 else ""),
        f"{count} operator{'' if count == 1 else 's'} in float"
        + (f" take {share:.0%}" if share >= _WORTH_SAYING else "")
        + f": {listed}",
        "`edgecomp inspect` lists them: replace those without an int8 kernel, quantize what the recipe left in float",
        gain if gain >= _WORTH_SAYING else None,
    )


def uneven_channels(case: Case) -> Iterator[Finding]:
    """Some output channels do not fill the last tile of the kernels."""
    step = case.profile.cpu.simd_channels
    for entry, node in case.multiplying(*_CONVOLUTIONS):
        sizes = case.channels(node)
        if sizes is None or sizes[0] == 1 or sizes[1] % step == 0:
            continue
        whole = sizes[1] // step * step
        waste = 1 - sizes[1] / (whole + step)
        gain = waste * case.share(entry)
        if gain >= _WORTH_SAYING:
            yield Finding(
                _name(node),
                f"{sizes[1]} output channels are no multiple of {step}: {waste:.0%} of the last tiles are empty",
                f"{f'{whole} channels cost less, ' if whole else ''}{whole + step} channels cost no more",
                gain,
            )


def zeros_in_full_shapes(case: Case) -> Iterator[Finding]:
    """Pruned weights are multiplied although they are zero."""
    kinds = [str(step.get("kind") or step.get("name")) for step in case.provenance]
    if any(kind in _UNSTRUCTURED for kind in kinds):
        yield Finding(
            "the whole model",
            "pruned without changing a shape: dense kernels multiply the zeros too",
            "prune channels instead, which removes them; zeros alone make a smaller download",
        )


def threads(case: Case) -> Iterator[Finding]:
    """There are more threads than cores, or fewer than the target's."""
    if case.result is None:
        return
    used, usable = case.result["settings"]["threads"], case.result["machine"]["cpu"]["usable"]
    if usable is not None and used > usable:
        yield Finding(
            "the measurement",
            f"{used} threads on {usable} cores wait for each other",
            f"measure with --threads {usable}",
        )
    elif used < case.profile.defaults.threads and (usable is None or used < usable):
        better = min(case.profile.defaults.threads, usable or case.profile.defaults.threads)
        remedy = f"measure with --threads {better}, if the app may use them"
        yield Finding("the measurement", f"threads used: {used}, where {better} are there", remedy)


def throttled(case: Case) -> Iterator[Finding]:
    """The board was throttled during the measurement."""
    conditions = (case.result or {}).get("conditions")
    if conditions is None:
        return
    flags = [flag for when in ("before", "after") for flag in (conditions[when]["throttling"] or {}).get("now", ())]
    if flags:
        words = ", ".join(dict.fromkeys(flags))
        yield Finding("the measurement", f"the board says: {words}", "cool it; see docs/boards.md")
    clock = max((conditions["during"]["frequency_khz"] or {"": 0}).values())
    top = max((cluster.max_mhz or 0 for cluster in case.profile.cpu.clusters), default=0) * 1000
    if 0 < clock < 0.95 * top:
        yield Finding(
            "the measurement",
            f"the clock was {clock // 1000} MHz of {top // 1000}",
            f"the governor `performance` instead of `{conditions['after']['governor']}`; see docs/boards.md",
            1 - clock / top,
        )


def unsteady(case: Case) -> Iterator[Finding]:
    """The samples cannot be summarized by one figure."""
    state = (case.result or {}).get("steady_state")
    if state is not None and state["steady"] is False:
        why = f"the samples are {state['verdict']}"
        yield Finding("the measurement", why, "stop other work there and measure again")


RULES: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    all_in_float,
    no_dot_product,
    memory_bound_depthwise,
    borders,
    islands,
    uneven_channels,
    zeros_in_full_shapes,
    threads,
    throttled,
    unsteady,
)


def _name(node: Node) -> str:
    """A layer as people know it."""
    return node.module or _first(node.name)


def _first(name: str) -> str:
    """The first of the names that TensorFlow's converter joins when it fuses operators."""
    return name.partition(";")[0]
