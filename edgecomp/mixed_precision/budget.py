"""Budgets of models in mixed precision: bytes of each artifact, milliseconds of one inference.

Bytes are those of real artifacts. Milliseconds are an estimate (see `edgecomp.estimation`) for one thread of the
target's first cores; the middle of its range has to fit. Every artifact of a result has to fit, so the most expensive
one counts.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecomp.converter import load_converter
from edgecomp.errors import InputError
from edgecomp.estimation import Range, estimate
from edgecomp.units import format_size

if TYPE_CHECKING:
    from edgecomp.model import CompressedModel
    from edgecomp.workbench import Workbench

#: Unit -> bytes, or milliseconds.
SIZES: Mapping[str, float] = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20}
TIMES: Mapping[str, float] = {"ms": 1, "us": 1e-3, "s": 1e3}


@dataclass(frozen=True)
class Cost:
    """The cost of a model's artifacts; of each kind the largest.

    Attributes:
        size: Bytes of the largest artifact.
        milliseconds: Estimate for the slowest artifact; None if the target's cores are not documented.
    """

    size: int
    milliseconds: Range | None

    @property
    def likely(self) -> float:
        """The middle of the estimate, in milliseconds."""
        return math.nan if self.milliseconds is None else (self.milliseconds.low + self.milliseconds.high) / 2

    def __str__(self) -> str:
        time = "" if self.milliseconds is None else f", {self.likely:.3g} ms estimated"
        return f"{format_size(self.size)}{time}"


@dataclass(frozen=True)
class Budget:
    """Upper limits on the cost of artifacts.

    Attributes:
        size: Bytes.
        milliseconds: The milliseconds of one inference.
    """

    size: float = math.inf
    milliseconds: float = math.inf

    @classmethod
    def parse(cls, max_size: str, max_latency: str) -> Budget:
        """Parses the settings of `MixedPrecision`; an empty one sets no limit."""
        return cls(
            parse_quantity(max_size, SIZES) if max_size else math.inf,
            parse_quantity(max_latency, TIMES) if max_latency else math.inf,
        )

    def __str__(self) -> str:
        parts = [] if math.isinf(self.size) else [format_size(self.size)]
        return " and ".join(parts if math.isinf(self.milliseconds) else [*parts, f"{self.milliseconds:g} ms"])

    @property
    def limits(self) -> bool:
        """Whether it sets any limit."""
        return not (math.isinf(self.size) and math.isinf(self.milliseconds))

    def allows(self, cost: Cost) -> bool:
        """Tells whether a cost is within the budget."""
        fast = math.isinf(self.milliseconds) or cost.likely <= self.milliseconds
        return cost.size <= self.size and fast


def parse_quantity(text: str, units: Mapping[str, float]) -> float:
    """Parses a number with a unit, "5 MB" or "12ms".

    Raises:
        ValueError: The text has another form.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([A-Za-z]+)\s*", text)
    if match is None or match[2] not in units:
        raise ValueError(f"{text!r} is not a number with one of {', '.join(units)}")
    number = float(match[1]) * units[match[2]]
    if not 0 < number < math.inf:
        raise ValueError(f"{text!r} is not above 0")
    return number


def is_quantity(text: str, units: Mapping[str, float]) -> bool:
    """Tells whether `parse_quantity` accepts a text."""
    try:
        parse_quantity(text, units)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Meter:
    """Measures the cost of models on the target of a workbench, in its formats.

    Attributes:
        bench: Provides target, formats and options.
    """

    bench: Workbench

    def check(self, budget: Budget) -> None:
        """Checks that a budget can be judged.

        Raises:
            InputError: It limits milliseconds on a target whose cores are not documented.
        """
        target = self.bench.target
        if not math.isinf(budget.milliseconds) and not any(core.max_mhz for core in target.cpu.clusters[:1]):
            raise InputError(
                f"--max-latency {budget.milliseconds:g}ms",
                expected="a target with documented cores and clocks, by which time can be estimated",
                actual=f"{target.name} has none",
                cure="ask for --max-size, take a target that `edgecomp targets NAME` shows cores of, or measure with "
                "`edgecomp bench`",
            )

    def cost(self, model: CompressedModel) -> Cost:
        """Converts a model into every format and returns the cost of the artifacts."""
        sizes, times = [], []
        with tempfile.TemporaryDirectory(prefix="edgecomp-") as folder:
            for name in self.bench.formats:
                converter = load_converter(name)
                path = Path(folder) / f"model{converter.suffixes[0]}"
                converter.convert(model, path, self.bench.options)
                sizes.append(path.stat().st_size)
                times.append(estimate(converter.inspect(path), self.bench.target).milliseconds)
        known = [time for time in times if time is not None]
        return Cost(max(sizes), max(known, key=lambda time: time.low + time.high) if known else None)
