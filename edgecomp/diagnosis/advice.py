"""What to do about a model that loses much by int8, or so much that verification rejects it."""

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

#: Among how many layers a rejection names the worst: on large graphs it searches instead of trying every layer.
_SUSPECTS = 24

#: Of the original's answers, int8 is expected to keep so many; for fewer there is a note.
_MOST = 0.99

_CALIBRATED = "try more calibration data, another estimator, or --precision fp32"
#: Precision -> what else may help; precisions that are not here need no calibration.
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


def mended_by(verification: Verification) -> MixedPrecision | None:
    """The step that keeps in float what it takes for artifacts that integers alone brought out of tolerance.

    Args:
        verification: With what is out of tolerance.

    Returns:
        The step, not a strict one; None when nothing is out of tolerance, or rounding is not to blame.
    """
    promise = _missed(verification)
    if promise == Promise() or not is_rounding(verification):
        return None
    return MixedPrecision(min_agreement=promise.min_agreement, min_sqnr=promise.min_sqnr, strict=False)


def advice(
    model: CompressedModel, unrounded: CompressedModel, batches: Sequence[Arrays], verification: Verification
) -> str | None:
    """Names the layer that hurts most, and the option that helps, or the most that was reached by it.

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


def lost_answers(verification: Verification, precision: Precision) -> Iterator[str]:
    """The artifact that keeps the fewest of the original's answers, as a whole sentence with what keeps more.

    Args:
        verification: Of artifacts that are within tolerance.
        precision: What they were rounded to.
    """
    # None are asked for of what was trained after it was rounded, and moved on purpose.
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
    """Whether rounding is to blame: artifacts keep to the simulation, or that itself is as bad as a wrong operator.

    A network that magnifies the rounding of its own layers does the same to the last step in which runtimes differ.
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
    """What artifacts would have had to keep; nothing of it where they did."""
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
    """The SQNR between the simulation and the original, by output."""
    return {entry.output: entry.sqnr for verdict in verification.verdicts[:1] for entry in verdict.against_original}


def _option(verification: Verification) -> str:
    """The promise that was missed, as options of `compress`."""
    missed = _missed(verification)
    options = {"--min-sqnr": missed.min_sqnr, "--min-agreement": missed.min_agreement}
    return " ".join(f"{name} {value:g}" for name, value in options.items() if value)


def _searched(model: CompressedModel) -> str:
    """What a search for layers in float chose; empty without one."""
    facts = [step.facts for step in model.provenance if step.name == MixedPrecision.kind]
    return next((str(each["chosen"]) for each in facts if "chosen" in each), "")
