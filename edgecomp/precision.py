"""The precisions: how each treats weights and activations, and what formats declare about them.

Each converter has a table `precisions` that says for every precision whether its runtime *executes* it, only *stores*
the file in it, or whether it is *refused*. Facts about a runtime are defined with its converter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from edgecomp.errors import InputError

Precision = Literal["fp32", "fp16", "int8", "int16x8", "dynamic-int8", "weight-int8", "weight-int4"]

#: In the order of the documentation.
NAMES: tuple[Precision, ...] = get_args(Precision)

Execution = Literal["executes", "stores", "refused"]


@dataclass(frozen=True)
class PrecisionFacts:
    """The properties of a precision in any format.

    Attributes:
        weights: How the weights of convolutions and matrix products are stored.
        activations: What is computed in between.
        calibrated: Whether activation ranges are measured on calibration data.
        simulation_sqnr: Least SQNR in dB between an artifact and the simulation, where the runtime keeps to it. The
            simulation rounds weights as the artifacts store them. Where runtimes round activations too, each in its
            own way (per row or per tensor, with half floats or not), only that rounding may be between the two.
        simulated: Whether the simulation rounds activations, too, where runtimes do.
    """

    weights: str
    activations: str
    calibrated: bool = False
    simulation_sqnr: float = 20.0
    simulated: bool = True


PRECISIONS: Mapping[Precision, PrecisionFacts] = {
    "fp32": PrecisionFacts("float32", "float32", simulation_sqnr=60.0),
    "fp16": PrecisionFacts("float16", "float16 where the processor has it, else float32", simulation_sqnr=30.0),
    "int8": PrecisionFacts("int8 per channel", "int8, calibrated", calibrated=True),
    "int16x8": PrecisionFacts("int8 per channel", "int16, calibrated", calibrated=True, simulation_sqnr=30.0),
    "dynamic-int8": PrecisionFacts("int8 per channel", "int8, ranges found at run time", simulated=False),
    "weight-int8": PrecisionFacts("int8 per channel", "float32", simulation_sqnr=60.0),
    "weight-int4": PrecisionFacts("int4 in blocks (matrices), int8 per channel (convolutions)", "float32 or int8"),
}


@dataclass(frozen=True)
class Support:
    """How a format supports a precision.

    Attributes:
        execution: "executes": the runtime computes in it; "stores": the file is that small, and the runtime computes in
            float32; "refused": neither.
        how: By which operators, on which processors; for a refusal the reason.
    """

    execution: Execution
    how: str


def check_support(
    precision: Precision, tables: Mapping[str, Mapping[Precision, Support]], formats: Sequence[str], subject: str
) -> None:
    """Checks that all of `formats` can be written in a precision.

    Args:
        precision: Asked for.
        tables: The `precisions` of every converter by format.
        formats: Asked for.
        subject: For the error message.

    Raises:
        InputError: One cannot.
    """
    refused = {name: tables[name][precision] for name in formats if tables[name][precision].execution == "refused"}
    if not refused:
        return
    able = [name for name in tables if tables[name][precision].execution != "refused"]
    chosen = [name for name in formats if name in able] or able
    others = [name for name in NAMES if all(tables[form][name].execution != "refused" for form in formats)]
    raise InputError(
        f"{subject}: precision {precision}",
        expected="a precision that every one of the formats can be written in",
        actual="; ".join(f"{name}: {entry.how}" for name, entry in refused.items()),
        cure=f"use --formats {','.join(chosen)}, or --precision with one of {', '.join(others)}",
    )
