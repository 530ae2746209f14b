"""What a report tells: the manifest, the artifacts and the measurements of a result folder, as rows of figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecomp import manifest
from edgecomp.artifact import find_converter
from edgecomp.devices import results
from edgecomp.inspection import Inspection
from edgecomp.verification.comparison import EQUAL

#: What activations are stored in; wider integers are accumulators and indices.
_ACTIVATIONS = frozenset({"int8", "uint8", "int16"})

#: Rows that a table shows; the manifest has all of them.
CLASSES, FLIPS, RANGES = 20, 12, 80


#: What was done, in words, by the name that recipes and the provenance use.
WORDS = {
    "export": "the torch module became a graph",
    "import": "the file was read as a graph",
    "original": "the module as it was before it was compressed",
    "simplify": "constants were computed, BatchNorm and identities removed",
    "absorb": "the integers that the model brought were taken over",
    "quantize": "weights and activations were rounded",
    "prune-weights": "single weights were set to zero",
    "prune-weights-gradually": "single weights were set to zero in the course of training",
    "prune-channels": "whole channels, heads and hidden units were cut out",
    "prune-blocks": "whole blocks were cut out",
    "low-rank": "large layers became products of smaller ones",
    "low-rank-embeddings": "tables of words became products of smaller ones",
    "fine-tune": "the module was trained",
    "distill": "the module learned from a teacher",
    "re-estimate-batch-norm": "the statistics of BatchNorm were measured anew",
    "equalize": "scales were moved between layers, so that their channels have like ranges",
    "absorb-biases": "large biases were moved into the next layer",
    "smooth": "scales were moved from activations to weights",
    "mixed-precision": "layers that rounding hurts stayed more exact",
    "static-int8": "weights and activations became 8-bit integers, with ranges from calibration data",
    "static-int16x8": "weights became 8-bit integers and activations 16-bit ones, with ranges from calibration data",
    "fp16": "weights became 16-bit floats",
    "dynamic-int8": "weights became 8-bit integers, and activations do at run time",
    "weight-int8": "weights became 8-bit integers",
    "weight-int4": "weights became 4-bit integers",
    "gptq": "weights were rounded one after another, each making up for the error of those before",
    "adaround": "for each weight it was learned whether to round it up or down, layer by layer",
    "adaround-blocks": "for each weight it was learned whether to round it up or down, block by block",
    "qat": "weights and scales were trained through the rounding",
}


@dataclass(frozen=True)
class Artifact:
    """A file of the folder.

    Attributes:
        entry: What the manifest says of it.
        inspection: What is in it.
        verdict: What was measured of it, or {}.
    """

    entry: Mapping[str, Any]
    inspection: Inspection
    verdict: Mapping[str, Any]

    @property
    def operators(self) -> dict[str, int]:
        """Precision -> how many operators compute in it, most first."""
        counts: Counter[str] = Counter()
        for each in self.inspection.operators:
            counts[each.precision] += each.count
        return dict(counts.most_common())


@dataclass(frozen=True)
class Cell:
    """Two models on the same samples, their worst output.

    Attributes:
        agreement: The share of equal answers, if there are any.
        sqnr: In dB, if there is one.
    """

    agreement: float | None
    sqnr: float | None


@dataclass(frozen=True)
class Range:
    """What the integers of an activation can hold."""

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Latency:
    """A measurement of an artifact on a device."""

    device: str
    started: str
    file: str
    median: float
    p95: float


class Contents:
    """Everything that a page needs.

    Args:
        folder: A result folder.

    Attributes:
        manifest: Its manifest.
        artifacts: Its artifacts, each the file that was verified.

    Raises:
        SourceError: It is no result folder, or one of its artifacts is missing or another.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.manifest = folder, manifest.read(folder)
        verdicts = {verdict["name"]: verdict for verdict in self.verification["verdicts"]}
        self.artifacts = []
        for entry in self.manifest["artifacts"]:
            path = manifest.verified_path(folder, entry)
            found = find_converter(path).inspect(path)
            self.artifacts.append(Artifact(entry, found, verdicts.get(entry["file"], {})))

    @property
    def verification(self) -> Mapping[str, Any]:
        """What was verified."""
        found: Mapping[str, Any] = self.manifest["verification"]
        return found

    @property
    def violations(self) -> list[str]:
        """What was out of tolerance."""
        verification = self.verification
        verdicts = [*verification["verdicts"], *(each for entry in verification["sizes"] for each in entry["verdicts"])]
        return [f"{verdict['name']}: {text}" for verdict in verdicts for text in verdict["violations"]]

    @property
    def models(self) -> list[str]:
        """Every model that ran: the original, the simulation if there is one, and each artifact."""
        return ["original", *(verdict["name"] for verdict in self.verification["verdicts"])]

    def cells(self) -> dict[tuple[str, str], Cell]:
        """The agreement matrix, above its diagonal."""
        found = {}
        for verdict in self.verification["verdicts"]:
            found["original", verdict["name"]] = _cell(verdict["against_original"])
            if verdict["against_simulation"]:
                found["simulation", verdict["name"]] = _cell(verdict["against_simulation"])
        for entry in self.verification["between"]:
            first, second = entry["artifacts"]
            found[first, second] = _cell(entry["comparisons"])
        return found

    def churn(self) -> list[Mapping[str, Any]]:
        """Which answers changed from the original to each artifact."""
        return [each for each in self.verification.get("churn", ()) if each["between"][0] == "original"]

    def class_name(self, number: int | None) -> str:
        """What a class is called."""
        labels = self.manifest["processing"]["labels"] or ()
        return "" if number is None else str(labels[number]) if 0 <= number < len(labels) else str(number)

    def classes(self) -> list[tuple[str, int, float, float, float]]:
        """Name, support, the original's F1, the worst artifact's, and what is lost: the greatest loss first."""
        rows = []
        for each in self.verification.get("classes", ()):
            scores = {name: score["f1"] for name, score in each["scores"].items()}
            original = scores.pop("original", 0.0)
            worst = min(scores.values(), default=original)
            rows.append((self.class_name(each["class"]), each["support"], original, worst, original - worst))
        return sorted(rows, key=lambda row: -row[-1])

    def islands(self) -> list[tuple[str, str, str, str]]:
        """File, operator, node and reason of what is computed in float although the model is quantized."""
        return [
            (artifact.entry["file"], island["op_type"], island["node"], island["reason"])
            for artifact in self.artifacts
            for island in artifact.entry["islands"]
        ]

    def ranges(self) -> tuple[str, list[Range]]:
        """The ranges of activations, in the order of execution, and the file that they are from."""
        for artifact in self.artifacts:
            if found := list(_ranges(artifact.inspection)):
                return artifact.entry["file"], found
        return "", []

    def steps(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """What was done: name, what that is in words, and its settings."""
        for step in self.manifest["provenance"]:
            settings = dict(step["settings"])
            kind = settings.pop("method", step["name"])
            yield kind, WORDS.get(kind, WORDS.get(step["name"], "")), settings

    def latencies(self) -> list[Latency]:
        """What was measured on devices, of these very files."""
        known = {artifact.entry["sha256"] for artifact in self.artifacts}
        found = []
        for path in sorted((self.folder / results.FOLDER).glob("*.json")):
            document = results.read(path)
            for entry in document["artifacts"]:
                if entry["sha256"] in known and entry["result"] is not None:
                    times = entry["result"]["latency_ms"]
                    device, started = document["device"]["name"], document.get("started", "")
                    found.append(Latency(device, started, entry["file"], times["p50"], times["p95"]))
        return found


def _cell(comparisons: Sequence[Mapping[str, Any]]) -> Cell:
    agreements = [each["agreement"] for each in comparisons if each["agreement"] is not None]
    ratios = [each["sqnr"] for each in comparisons if each["sqnr"] is not None]
    return Cell(min(agreements, default=None), min(ratios, default=None))


def _ranges(inspection: Inspection) -> Iterator[Range]:
    contents = inspection.contents
    order = dict.fromkeys(index for _, node in contents.computing() for index in node.outputs)
    seen = set()
    for index in order:
        tensor = contents.tensors[index]
        quantization = tensor.quantization
        if tensor.dtype not in _ACTIVATIONS or quantization is None:
            continue
        limits = np.iinfo(tensor.dtype)
        ends = tuple((limit - quantization.zero_point) * quantization.scale for limit in (limits.min, limits.max))
        if (tensor.name, ends) not in seen:
            seen.add((tensor.name, ends))
            yield Range(tensor.name, *ends)


def decibels(value: float | None) -> str:
    """A signal to noise ratio for people."""
    return "" if value is None else "equal" if value == EQUAL else f"{value:.1f} dB"


def share(value: float | None) -> str:
    """A share for people."""
    return "" if value is None else f"{value:.1%}"
