"""What to do about a model that loses much by int8, or so much that verification rejects it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgecomp.arrays import Arrays
from edgecomp.diagnosis.report import diagnose_model
from edgecomp.errors import VerificationError
from edgecomp.model import CompressedModel
from edgecomp.precision import Precision
from edgecomp.quantization.float_share import float_share
from edgecomp.recovery.effort import ENOUGH
from edgecomp.verification.comparison import EQUAL, Comparison
from edgecomp.verification.result import Verification
from edgecomp.verification.tolerance import WRONG

_CALIBRATED = "try more calibration data, another estimator, or --precision fp32"
#: Precision -> what else may mend it; precisions that are not here need no calibration.
_ELSE: Mapping[Precision, str] = {
    "fp32": "report it with the model, unless it magnifies the last digits of float32 (docs/precisions.md)",
    "int8": _CALIBRATED,
    "int16x8": _CALIBRATED,
}


def rejection(
    subject: str,
    verification: Verification,
    manifest: Path,
    advice: str | None,
    *,
    precision: Precision,
    formats: Mapping[str, str],
) -> VerificationError:
    """The error that says what is out of tolerance, and what to do.

    Args:
        subject: The source and the target.
        verification: With what is out of tolerance.
        manifest: Where all of it can be read.
        advice: What to do about rounding; None when it is not to blame.
        precision: The precision of the artifacts.
        formats: File name -> format.
    """
    first, *others = verification.violations
    more = f" (and {len(others)} more)" if others else ""
    verdicts = (*verification.verdicts, *(verdict for size in verification.sizes for verdict in size.verdicts))
    rejected = {verdict.name for verdict in verdicts if verdict.violations}
    kept = [name for file, name in formats.items() if file not in rejected]
    cures = [
        *([advice] if advice else []),
        *([f"write only those that agree: --formats {','.join(kept)}"] if kept else []),
        _ELSE.get(precision, "try --precision fp32"),
    ]
    return VerificationError(
        subject,
        expected="artifacts that agree with the original and with the simulation",
        actual=f"{first}{more}",
        cure=f"look at {manifest}; {'; or '.join(cures)}",
    )


def advice(
    model: CompressedModel, unrounded: CompressedModel, batches: Sequence[Arrays], verification: Verification
) -> str | None:
    """Names the layer that hurts most, and the option that mends it.

    Args:
        model: Quantized, and rejected.
        unrounded: The same in float.
        batches: A few typical inputs.
        verification: What rejected it.

    Returns:
        The cure, or None when rounding is not to blame: an artifact disagrees with the simulation.
    """
    if not model.quantization or not batches or not is_rounding(verification):
        return None
    worst, *_ = diagnose_model(model, unrounded, batches, source="", target="").layers
    because = f" ({worst.findings[0].words})" if worst.findings else ""
    module = f" of module {worst.module}" if worst.module else ""
    return (
        f"{_option(verification)} keeps in float what is needed; {worst.op_type} {worst.name!r}{module} causes "
        f"{worst.share:.0%} of the error{because}: --keep-float {worst.name}; `edgecomp diagnose` tells more"
    )


def remarks(model: CompressedModel) -> Iterator[str]:
    """What a user should know of how well integers do, as whole sentences: from the provenance, nothing is run.

    Args:
        model: Quantized.
    """
    facts = {step.name: step.facts for step in model.provenance}
    searched, rounded = facts.get("mixed-precision", {}), facts.get("quantize", {})
    if searched.get("frontier") and (searched["kept_in_float"] or "budget" in searched):
        plain = searched["frontier"][0]["sqnr"]
        within = f" within {searched['budget']}" if "budget" in searched else ""
        yield f"Mixed precision chose {searched['chosen']}{within}; without, {plain:.1f} dB of signal to noise."
    if model.precision in {"int8", "int16x8"} and (share := float_share(model)).nodes:
        yield str(share)
    kept = rounded.get("sqnr", {}).get(rounded.get("estimator"), EQUAL)
    if kept < ENOUGH and not searched.get("frontier"):
        yield (
            f"Integers keep {kept:.1f} dB of signal to noise on calibration data, where {ENOUGH:g} dB seldom change an "
            f"answer: --effort best or --min-sqnr {ENOUGH:g} keeps in float what that takes, and `edgecomp diagnose` "
            "names the layers."
        )


def is_rounding(verification: Verification) -> bool:
    """Whether rounding is to blame: artifacts keep to the simulation, or that itself is as bad as a wrong operator.

    A network that magnifies the rounding of its own layers does the same to the last step in which runtimes differ.
    """
    tolerance, simulation, *artifacts = verification.tolerance, *verification.verdicts
    simulated = {entry.output: entry.sqnr for entry in simulation.against_original}
    compared = [entry for verdict in artifacts for entry in verdict.against_simulation]

    def explained(entry: Comparison) -> bool:
        own = simulated.get(entry.output)
        lost = own is not None and own < WRONG
        least = tolerance.least_sqnr(own, has_answers=entry.agreement is not None)
        return entry.broken == 0 and (lost or entry.sqnr is None or entry.sqnr >= least)

    return bool(compared) and all(map(explained, compared))


def _option(verification: Verification) -> str:
    """The promise that was missed, as an option of `compress`."""
    tolerance = verification.tolerance
    noise = [entry.sqnr for verdict in verification.verdicts for entry in verdict.against_simulation]
    if any(sqnr is not None and sqnr < tolerance.simulation_sqnr for sqnr in noise):
        return f"--min-sqnr {tolerance.simulation_sqnr:g}"
    answers = [entry.agreement for verdict in verification.verdicts for entry in verdict.against_original]
    if any(agreement is not None and agreement < tolerance.agreement for agreement in answers):
        return f"--min-agreement {tolerance.agreement:g}"
    return f"--min-sqnr {tolerance.original_sqnr:g}"
