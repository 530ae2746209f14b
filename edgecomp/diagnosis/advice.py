"""Advice for a model that loses much accuracy in int8, or that verification rejects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgecomp.arrays import Arrays
from edgecomp.diagnosis.report import diagnose_model
from edgecomp.errors import VerificationError
from edgecomp.mixed_precision.promise import Promise
from edgecomp.mixed_precision.step import MixedPrecision
from edgecomp.model import CompressedModel
from edgecomp.precision import PRECISIONS, Precision
from edgecomp.quantization.float_share import float_share
from edgecomp.recovery.effort import ENOUGH
from edgecomp.verification.comparison import EQUAL, Comparison
from edgecomp.verification.result import Verification
from edgecomp.verification.tolerance import WRONG

#: The largest number of layers that a rejection rounds alone; on larger graphs it searches for the worst part first.
_SUSPECTS = 24

#: The share of the original's answers that int8 is expected to keep; below it there is a note.
_MOST = 0.99

_CALIBRATED = "try more calibration data, another estimator, or --precision fp32"
#: Precision -> other options; precisions that are missing here need no calibration.
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
    """Returns the error that says what is out of tolerance, and what to do.

    Args:
        subject: The source and the target.
        verification: The verification that failed.
        manifest: The file with all details.
        advice: What to do about rounding; None if rounding is not the cause.
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


def mended_by(verification: Verification) -> MixedPrecision | None:
    """Returns the step that keeps layers in float if rounding alone brought artifacts out of tolerance.

    Args:
        verification: The verification that failed.

    Returns:
        The step, which is not strict; None if nothing is out of tolerance, or rounding is not the cause.
    """
    promise = _missed(verification)
    if promise == Promise() or not is_rounding(verification):
        return None
    return MixedPrecision(min_agreement=promise.min_agreement, min_sqnr=promise.min_sqnr, brief=True, strict=False)


def advice(
    model: CompressedModel, unrounded: CompressedModel, batches: Sequence[Arrays], verification: Verification
) -> str | None:
    """Names the layer that hurts most, and the option that helps, or the best that was reached with it.

    Args:
        model: Quantized, and rejected.
        unrounded: The same in float.
        batches: A few typical inputs.
        verification: The verification that rejected it.

    Returns:
        The cure, or None if rounding is not the cause: an artifact disagrees with the simulation.
    """
    if not model.quantization or not batches or not is_rounding(verification):
        return None
    worst, *_ = diagnose_model(model, unrounded, batches, source="", target="", suspects=_SUSPECTS).layers
    because = f" ({worst.findings[0].words})" if worst.findings else ""
    module = f" of module {worst.module}" if worst.module else ""
    tried = _searched(model)
    option = (
        f"of layers in float, the best were {tried}"
        if tried
        else f"{_option(verification)} keeps in float what is needed"
    )
    return (
        f"{option}; {worst.op_type} {worst.name!r}{module} causes {worst.share:.0%} of the error{because}: "
        f"--keep-float {worst.name}; `edgecomp diagnose` tells more"
    )


def remarks(model: CompressedModel) -> Iterator[str]:
    """Yields what a user should know about the accuracy of the integers, in whole sentences, from the provenance alone.

    Args:
        model: Quantized.
    """
    facts = {step.name: step.facts for step in model.provenance}
    searched, rounded = facts.get("mixed-precision", {}), facts.get("quantize", {})
    if searched.get("frontier") and (searched["kept_in_float"] or "budget" in searched):
        plain = searched["frontier"][0]["sqnr"]
        within = f" within {searched['budget']}" if "budget" in searched else ""
        yield f"Mixed precision chose {searched['chosen']}{within}; without, {plain:.1f} dB of signal to noise."
    if searched.get("cut_short"):
        yield (
            f"The search for layers in float ended after {len(searched['frontier'])} choices, since the network is "
            "large: fewer layers may do. --min-agreement or --min-sqnr searches to the end."
        )
    if model.precision in {"int8", "int16x8"} and (share := float_share(model)).nodes:
        yield str(share)
    kept = rounded.get("sqnr", {}).get(rounded.get("estimator"), EQUAL)
    if kept < ENOUGH and not searched.get("frontier"):
        yield (
            f"Integers keep {kept:.1f} dB of signal to noise on calibration data, where {ENOUGH:g} dB seldom change an "
            f"answer: --effort best or --min-sqnr {ENOUGH:g} keeps in float what that takes, and `edgecomp diagnose` "
            "names the layers."
        )


def lost_answers(verification: Verification, precision: Precision) -> Iterator[str]:
    """Names the artifact that keeps the fewest of the original's answers, and what keeps more, in a whole sentence.

    Args:
        verification: Of artifacts that are within tolerance.
        precision: The precision of the artifacts.
    """
    # No agreement is required of a model that was trained after quantization, because training moves it on purpose.
    if not PRECISIONS[precision].calibrated or not 0 < verification.tolerance.agreement < _MOST:
        return
    wanted = replace(verification.tolerance, agreement=_MOST)
    found = [(entry, verdict.name) for verdict in verification.verdicts[1:] for entry in verdict.against_original]
    short = [(entry.agreement or 0.0, name) for entry, name in found if wanted.has_too_few_answers(entry)]
    if short and not verification.violations:
        agreement, name = min(short)
        yield (
            f"{name} keeps {agreement:.1%} of the original's answers: for more, --min-agreement {_MOST:g} searches for "
            "layers to keep in float, or try --precision fp16."
        )


def is_rounding(verification: Verification) -> bool:
    """Tells whether rounding is the cause: artifacts agree with the simulation, or the simulation itself is far off.

    A network that magnifies the rounding of its own layers also magnifies the last step in which runtimes differ.
    """
    tolerance, artifacts, simulated = verification.tolerance, verification.verdicts[1:], _simulated(verification)
    compared = [entry for verdict in artifacts for entry in verdict.against_simulation]

    def explained(entry: Comparison) -> bool:
        own = simulated.get(entry.output)
        lost = own is not None and own < WRONG
        least = tolerance.least_sqnr(own, answers=entry.answers)
        return entry.broken == 0 and (lost or entry.sqnr is None or entry.sqnr >= least)

    return bool(compared) and all(map(explained, compared))


def _missed(verification: Verification) -> Promise:
    """Returns the promise that artifacts missed; empty for what they kept."""
    tolerance, simulated = verification.tolerance, _simulated(verification)
    least, few = 0.0, False
    for verdict in verification.verdicts[1:]:
        for entry in verdict.against_simulation:
            wanted = tolerance.least_sqnr(simulated.get(entry.output), answers=entry.answers)
            if entry.sqnr is not None and entry.sqnr < wanted:
                least = max(least, tolerance.simulation_sqnr)
        for entry in verdict.against_original:
            few = few or tolerance.has_too_few_answers(entry)
            if entry.agreement is None and entry.sqnr is not None and entry.sqnr < tolerance.original_sqnr:
                least = max(least, tolerance.original_sqnr)
    return Promise(tolerance.agreement if few else 0.0, least)


def _simulated(verification: Verification) -> dict[str, float | None]:
    """Returns the SQNR between the simulation and the original, by output."""
    return {entry.output: entry.sqnr for verdict in verification.verdicts[:1] for entry in verdict.against_original}


def _option(verification: Verification) -> str:
    """Returns the missed promise as options of `compress`."""
    missed = _missed(verification)
    options = {"--min-sqnr": missed.min_sqnr, "--min-agreement": missed.min_agreement}
    return " ".join(f"{name} {value:g}" for name, value in options.items() if value)


def _searched(model: CompressedModel) -> str:
    """Returns the choice of a search for layers in float; empty without a search."""
    facts = [step.facts for step in model.provenance if step.name == MixedPrecision.kind]
    return next((str(each["chosen"]) for each in facts if "chosen" in each), "")
