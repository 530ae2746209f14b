"""Whether rounding is to blame when artifacts are out of tolerance."""

import pytest

from edgecomp.comparison import Comparison
from edgecomp.diagnosis.advice import is_rounding
from edgecomp.verification import Verdict, Verification


def comparison(sqnr: float, broken: int = 0) -> Comparison:
    return Comparison("y", 8, 3.0, 1.0, 0.1, 0.99, sqnr, None, broken)


@pytest.mark.parametrize(
    ("own", "artifact", "broken", "expected"),
    [
        (30.0, 25.0, 0, True),  # the artifact keeps to the simulation
        (12.0, 12.5, 0, True),  # magnified as the network's own rounding is
        (30.0, 12.5, 0, False),  # the artifact computes something else
        (12.0, 25.0, 1, False),
    ],
)
def test_noise_that_the_network_magnifies_is_rounding(own: float, artifact: float, broken: int, expected: bool) -> None:
    verdicts = (
        Verdict("simulation", (comparison(own),)),
        Verdict("model.tflite", (comparison(own),), (comparison(artifact, broken),)),
    )
    assert is_rounding(Verification(8, None, verdicts)) is expected
