"""What a model in mixed precision may cost on its target: bytes of each artifact, milliseconds of one inference.

Bytes are those of real artifacts. Milliseconds are an estimate (see `edgecomp.estimation`): the middle of its range has
to fit, on one thread of the target's first cores. Each artifact of a result has to fit, so that the dearest counts.
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

#: Unit -> how many bytes, or milliseconds.
SIZES: Mapping[str, float] = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20}
TIMES: Mapping[str, float] = {"ms": 1, "us": 1e-3, "s": 1e3}


@dataclass(frozen=True)
class Cost:
    """What artifacts cost, the dearest of each.

    Attributes:
        size: Bytes of the largest.
        milliseconds: Estimated of the slowest; None where the target's cores are not documented.
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
    """The most that artifacts may cost.

    Attributes:
        size: Bytes.
        milliseconds: The milliseconds of one inference.
    """

    size: float = math.inf
    milliseconds: float = math.inf

    @classmethod
    def parse(cls, max_size: str, max_latency: str) -> Budget:
        """Of the settings of `MixedPrecision`; an empty one asks for nothing."""
        return cls(
            parse_quantity(max_size, SIZES) if max_size else math.inf,
            parse_quantity(max_latency, TIMES) if max_latency else math.inf,
        )

    def __str__(self) -> str:
        parts = [] if math.isinf(self.size) else [format_size(self.size)]
        return " and ".join(parts if math.isinf(self.milliseconds) else [*parts, f"{self.milliseconds:g} ms"])

    @property
    def limits(self) -> bool:
        """Whether it asks for anything."""
        return not (math.isinf(self.size) and math.isinf(self.milliseconds))

    def allows(self, cost: Cost) -> bool:
        """Whether a model is within it."""
        fast = math.isinf(self.milliseconds) or cost.likely <= self.milliseconds
        return cost.size <= self.size and fast


def parse_quantity(text: str, units: Mapping[str, float]) -> float:
    """A number with a unit, "5 MB" or "12ms".

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([A-Za-z]+)\s*", text)
    if match is None or match[2] not in units:
        raise ValueError(f"{text!r} is not a number with one of {', '.join(units)}")
    number = float(match[1]) * units[match[2]]
    if not 0 < number < math.inf:
        raise ValueError(f"{text!r} is not above 0")
    return number


def is_quantity(text: str, units: Mapping[str, float]) -> bool:
    """Whether `parse_quantity` reads it."""
    try:
        parse_quantity(text, units)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Meter:
    """Tells what models cost on the target of a workbench, in its formats.

    Attributes:
        bench: Has target, formats and options.
    """

    bench: Workbench

    def check(self, budget: Budget) -> None:
        """Makes sure that a budget can be judged.

        Raises:
            InputError: Milliseconds are asked for on a target whose cores are not documented.
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
        """Converts a model into every format, and looks."""
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
