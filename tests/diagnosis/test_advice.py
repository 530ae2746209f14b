"""Whether rounding is to blame when artifacts are out of tolerance, and what the error proposes."""

from pathlib import Path

import pytest

from edgecomp.diagnosis.advice import is_rounding, rejection
from edgecomp.precision import Precision
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
