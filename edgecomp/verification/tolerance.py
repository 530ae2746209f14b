"""How far an artifact may be from the simulation and from the original."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from edgecomp.precision import PRECISIONS, Precision
from edgecomp.verification.comparison import EQUAL, Comparison, binomial_tail

#: What a wrong operator leaves at most, in dB.
WRONG = 10.0
#: By how many dB two errors of one size, independent of each other, lie further apart than either is large.
INDEPENDENT = 10 * math.log10(2)
#: So many equal answers tell that rounding does no harm; a few would be equal by chance, whatever an operator computes.
TELLING = 20
#: Chance below which too few equal answers are no accident: one side of a 95 % confidence interval.
UNLIKELY = 0.025


@dataclass(frozen=True)
class Tolerance:
    """What an artifact must keep to.

    Attributes:
        simulation_sqnr: Least SQNR in dB between an artifact and the simulation. Rounding differences of one step here
            and there leave more than 30 dB; a wrong operator leaves less than `WRONG`. A network that magnifies
            rounding does the same to the last step in which runtimes differ: there, an artifact may be as far
            from the simulation as two roundings of the same size are that have nothing in common, by `INDEPENDENT`
            further than the simulation is from the original.
        agreement: Least share of answers with the original's argmax. It counts as missed when a model that keeps to it
            would give as few only by a chance below `UNLIKELY`: one answer of one proves nothing, two of two do.
        original_sqnr: Least SQNR in dB between an artifact and the original, for outputs without an argmax.
        float_sqnr: Least SQNR in dB between a float artifact and the original.
        simulated: Whether the simulation rounds what artifacts round. Where it leaves activations as they are, answers
            tell whether their rounding does harm, if there are as many as `TELLING`, and numbers only whether an
            operator is wrong.
    """

    simulation_sqnr: float = 20.0
    agreement: float = 0.95
    original_sqnr: float = 8.0
    float_sqnr: float = 60.0
    simulated: bool = True

    def promised(self, precision: Precision) -> Tolerance:
        """Held to what a precision promises, where that is more."""
        facts = PRECISIONS[precision]
        least = max(self.simulation_sqnr, facts.simulation_sqnr)
        return replace(self, simulation_sqnr=least, simulated=facts.simulated)

    def of_the_simulation(self) -> Tolerance:
        """Held to the simulation alone: for a model that was trained after it was rounded, and moved on purpose."""
        return replace(self, agreement=0.0, original_sqnr=-EQUAL)

    def least_sqnr(self, simulated: float | None, *, answers: int = 0) -> float:
        """What an artifact must keep to the simulation of an output, in dB.

        Args:
            simulated: The SQNR between the simulation and the original there; None for outputs without one.
            answers: How many answers of the output are compared with the original's, too.
        """
        if answers >= TELLING and not self.simulated and self.simulation_sqnr <= Tolerance.simulation_sqnr:
            return WRONG
        # More than the default is asked for on purpose, or by a precision in which activations are not rounded to int8.
        if simulated is None or self.simulation_sqnr > Tolerance.simulation_sqnr:
            return self.simulation_sqnr
        return min(self.simulation_sqnr, max(simulated - INDEPENDENT, WRONG))

    def has_too_few_answers(self, entry: Comparison) -> bool:
        """Whether so few answers equal to the original's are no accident."""
        if entry.agreement is None:
            return False
        answers = entry.answers or entry.samples
        return binomial_tail(round(entry.agreement * answers), answers, self.agreement) < UNLIKELY
