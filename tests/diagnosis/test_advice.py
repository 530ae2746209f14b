"""Whether rounding is to blame when artifacts are out of tolerance, and what the error proposes."""

from dataclasses import replace
from pathlib import Path

import pytest
from broken_nets import BROKEN

from edgecomp.diagnosis.advice import advice, is_rounding, lost_answers, mended_by, rejection
from edgecomp.mixed_precision.step import MixedPrecision
from edgecomp.model import Step
from edgecomp.precision import Precision
from edgecomp.quantization.static import quantize_static
from edgecomp.verification.comparison import Comparison
from edgecomp.verification.result import Verdict, Verification
from edgecomp.verification.tolerance import Tolerance


def comparison(sqnr: float, broken: int = 0) -> Comparison:
    return Comparison("y", 8, 3.0, 1.0, 0.1, 0.99, sqnr, None, broken)


@pytest.mark.parametrize(
    ("own", "artifact", "broken", "expected"),
    [
        (30.0, 25.0, 0, True),  # the artifact keeps to the simulation
        (12.0, 12.5, 0, True),  # magnified as the network's own rounding is
        (30.0, 12.5, 0, False),  # the artifact computes something else
        (12.0, 25.0, 1, False),
        (16.0, 13.1, 0, True),  # two roundings of one size that have nothing in common
        (16.0, 12.9, 0, False),  # further apart than these
        (6.0, 4.0, 0, True),  # there is nothing left to keep to
    ],
)
def test_noise_that_the_network_magnifies_is_rounding(own: float, artifact: float, broken: int, expected: bool) -> None:
    verdicts = (
        Verdict("simulation", (comparison(own),)),
        Verdict("model.tflite", (comparison(own),), (comparison(artifact, broken),)),
    )
    assert is_rounding(Verification(8, None, verdicts)) is expected


def test_a_precision_that_promises_more_is_held_to_it_whatever_the_network_magnifies() -> None:
    verdicts = (
        Verdict("simulation", (comparison(25.0),)),
        Verdict("model.tflite", (comparison(25.0),), (comparison(26.0),)),
    )
    verification = Verification(8, None, verdicts, tolerance=Tolerance().promised("int16x8"))
    assert not is_rounding(verification)


@pytest.mark.parametrize(
    ("precision", "cure"),
    [
        ("fp32", "write only those that agree: --formats tflite; or report it with the model"),
        ("fp16", "write only those that agree: --formats tflite; or try --precision fp32"),
        ("int8", "write only those that agree: --formats tflite; or try more calibration data"),
    ],
)
def test_formats_that_agree_can_be_had_without_the_others(precision: Precision, cure: str) -> None:
    verdicts = (
        Verdict("model.tflite", (comparison(90.0),)),
        Verdict("model.mnn", (comparison(50.0),), violations=("'y' is 50.0 dB from the original",)),
    )
    formats = {"model.tflite": "tflite", "model.mnn": "mnn"}
    verification = Verification(8, None, verdicts)
    error = rejection("net", verification, Path("x.json"), None, precision=precision, formats=formats)
    assert error.actual == "model.mnn: 'y' is 50.0 dB from the original"
    assert error.cure.startswith(f"look at x.json; {cure}")


def answers(share: float, sqnr: float = 15.0) -> Comparison:
    return Comparison("y", 100, 3.0, 1.0, None, 0.99, sqnr, share, 0, 100)


@pytest.mark.parametrize(
    ("original", "simulated", "promise"),
    [
        (answers(0.85), answers(0.97, 25.0), {"min_agreement": 0.95}),
        (answers(0.97), answers(0.97, 25.0), None),  # nothing is missed
        (comparison(5.0), comparison(5.0), {"min_sqnr": 20.0}),  # not even a wrong operator leaves less
        (comparison(6.0), comparison(25.0), {"min_sqnr": 8.0}),
        (answers(0.5), answers(0.5, 5.0), None),  # the artifact computes something else
    ],
)
def test_what_was_missed_is_what_layers_in_float_are_searched_for(
    original: Comparison, simulated: Comparison, promise: dict[str, float] | None
) -> None:
    own = original if original.agreement is None else answers(0.9, 25.0)
    verdicts = (Verdict("simulation", (own,)), Verdict("model.tflite", (original,), (simulated,)))
    step = mended_by(Verification(100, None, verdicts))
    assert step == (None if promise is None else MixedPrecision(brief=True, strict=False, **promise))


def test_where_a_search_was_not_enough_the_best_of_it_is_said() -> None:
    broken = BROKEN["outlier-channels"]
    model = broken.make()
    quantized = quantize_static(model, broken.calibration(), broken.settings, threads=1)
    verdicts = (Verdict("simulation", (comparison(5.0),)), Verdict("model.tflite", (comparison(5.0),), ()))
    verification = Verification(8, None, (verdicts[0], replace(verdicts[1], against_simulation=(comparison(5.0),))))
    plain = advice(quantized, model, broken.calibration()[:4], verification)
    assert plain is not None
    assert plain.startswith("--min-sqnr 20 keeps in float what is needed; Conv 'wide' causes")
    searched = replace(quantized, provenance=(Step("mixed-precision", facts={"chosen": "1 layer in float"}),))
    words = advice(searched, model, broken.calibration()[:4], verification)
    assert words is not None
    assert words.startswith("of layers in float, the best were 1 layer in float; Conv 'wide' causes")


@pytest.mark.parametrize(
    ("share", "precision", "asked", "says"),
    [
        (0.95, "int8", 0.95, True),
        (0.98, "int8", 0.95, False),  # two of a hundred may be chance
        (0.95, "fp16", 0.95, False),
        (0.95, "int8", 0.99, False),  # it was searched for
    ],
)
def test_lost_answers_are_said_with_what_keeps_them(
    share: float, precision: Precision, asked: float, says: bool
) -> None:
    verdicts = (Verdict("simulation", (answers(share),)), Verdict("model.mnn", (answers(share),)))
    notes = list(lost_answers(Verification(100, None, verdicts, tolerance=Tolerance(agreement=asked)), precision))
    said = "model.mnn keeps 95.0% of the original's answers: for more, --min-agreement 0.99 searches"
    assert [note.startswith(said) for note in notes] == ([True] if says else [])
