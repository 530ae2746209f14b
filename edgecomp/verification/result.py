"""What a verification found: one verdict for each artifact, and the agreement matrix around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgecomp.arrays import Array
from edgecomp.interface import Interface
from edgecomp.shapes import InputShapes
from edgecomp.verification.answers import Churn, ClassReport
from edgecomp.verification.comparison import Comparison
from edgecomp.verification.metrics import Scores
from edgecomp.verification.tolerance import Tolerance


@dataclass(frozen=True)
class Verdict:
    """What was measured of one artifact, or of the simulation.

    Attributes:
        name: "simulation", or the artifact's file name.
        against_original: One comparison per output.
        against_simulation: One comparison per output; empty for the simulation and for float models.
        metrics: The task's metrics by name; empty without labels or a metric.
        violations: What is out of tolerance, in words.
    """

    name: str
    against_original: tuple[Comparison, ...]
    against_simulation: tuple[Comparison, ...] = ()
    metrics: Scores = field(default_factory=dict)
    violations: tuple[str, ...] = ()


@dataclass(frozen=True)
class SizeVerdict:
    """What was measured at another size of the dynamic dimensions than the example's."""

    sizes: Mapping[str, int]
    verdicts: tuple[Verdict, ...]

    @property
    def violations(self) -> tuple[str, ...]:
        """Everything that is out of tolerance."""
        place = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        return tuple(f"{each.name} at {place}: {text}" for each in self.verdicts for text in each.violations)


@dataclass(frozen=True)
class Restriction:
    """An artifact that fails at an odd size, or at the smallest one, and is right at others.

    Attributes:
        names: The dimensions that it is to take multiples in.
        sizes: Where it failed.
        reason: How.
        smallest: Dimension -> the smallest size that it is to take.
    """

    names: tuple[str, ...]
    sizes: Mapping[str, int]
    reason: str
    smallest: Mapping[str, int] = field(default_factory=dict)

    def joined(self, other: Restriction) -> Restriction:
        """Both, with the reason of the other one."""
        names = dict.fromkeys((*self.names, *other.names))
        return replace(other, names=tuple(names), smallest={**self.smallest, **other.smallest})

    def narrowed(self, shapes: InputShapes) -> InputShapes:
        """The shapes with what the artifact is to take."""
        return replace(shapes.with_multiples(self.names), smallest={**shapes.smallest, **self.smallest})

    def note(self, file: str, shapes: InputShapes) -> str:
        """What the user should know, as a sentence."""
        multiples = shapes.with_multiples(self.names).multiples
        taken = [f"{name!r} in multiples of {multiples[name]}" for name in self.names]
        taken += [f"{name!r} from {size} on" for name, size in self.smallest.items()]
        tried = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        return (
            f"{file} takes {', '.join(taken)} only: at {tried} it does not agree with the original ({self.reason}). "
            "Pad to such a size, or give --shape for a fixed one."
        )


@dataclass(frozen=True)
class Verification:
    """The agreement matrix, and what it rests on.

    Attributes:
        samples: How many samples it rests on.
        metrics: The original's metrics by name.
        verdicts: The simulation first when the model is quantized, then each artifact.
        between: Comparisons of each pair of artifacts, by their file names.
        churn: Which answers change from one model to another: for the original or an artifact, and each artifact behind
            it; empty where there is not one answer for each sample.
        classes: How well the original and each artifact do on each class; empty without labels.
        tolerance: What the artifacts were held to.
        interfaces: File name -> how the artifact stores its inputs and outputs.
        sizes: What was measured at other sizes; empty for a model without dynamic dimensions.
        restrictions: File name -> what an artifact should take that does not agree at every size.
        unfit: Files that took none of the samples, because a dimension is fixed in them: nothing was measured of them.
        example: The first batch: "inputs", "original" and each file name -> arrays by name, as the source has them.
    """

    samples: int
    metrics: Scores
    verdicts: tuple[Verdict, ...]
    between: Mapping[tuple[str, str], tuple[Comparison, ...]] = field(default_factory=dict)
    churn: Mapping[tuple[str, str], Churn] = field(default_factory=dict)
    classes: tuple[ClassReport, ...] = ()
    tolerance: Tolerance = field(default_factory=Tolerance)
    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    example: Mapping[str, Mapping[str, Array]] = field(default_factory=dict, repr=False)
    sizes: tuple[SizeVerdict, ...] = ()
    restrictions: Mapping[str, Restriction] = field(default_factory=dict)
    unfit: tuple[str, ...] = ()

    @property
    def violations(self) -> tuple[str, ...]:
        """Everything that is out of tolerance."""
        own = (f"{verdict.name}: {text}" for verdict in self.verdicts for text in verdict.violations)
        return (*own, *(text for each in self.sizes for text in each.violations))
