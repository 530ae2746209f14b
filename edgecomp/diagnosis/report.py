"""Combines measurements and findings into the report of `edgecomp diagnose`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgecomp.arrays import Arrays
from edgecomp.diagnosis.artifacts import ArtifactDiagnosis
from edgecomp.diagnosis.evidence import Evidence
from edgecomp.diagnosis.findings import Finding, explain
from edgecomp.diagnosis.measure import Measurement, measure
from edgecomp.errors import SourceError
from edgecomp.model import CompressedModel
from edgecomp.precision import Precision
from edgecomp.progress import Progress, silent

#: A layer hurts if rounding it alone brings the outputs below this many dB, which is 0.1 % of noise power.
HARMFUL = 30.0
#: A layer also hurts if its own tensor is below this many dB, and its share of the error is at least this large.
DAMAGED, NOTABLE = 15.0, 0.01
#: Outputs of at least this many dB are fine, whatever happens in between.
FINE = 35.0


@dataclass(frozen=True)
class LayerDiagnosis:
    """The facts about one layer, and why it hurts if it does.

    Attributes:
        name: The name of the node, or of a tensor that is quantized on entry.
        op_type: The operator of the node; "Input" for a graph input.
        module: The torch module that it came from, "" if unknown.
        tensor: The name of its tensor.
        position: Its position from input to output.
        sqnr: The SQNR of its tensor with all layers rounded, against float, in dB.
        cosine: The cosine similarity, likewise.
        own_sqnr: The SQNR of its tensor with only this layer rounded.
        own_cosine: The cosine similarity, likewise.
        output_sqnr: The SQNR of the model's outputs with only this layer rounded.
        share: The share of the error of the model's outputs that it causes; the shares of all layers add up to 1.
        range: The range that its integers cover; None for weights alone.
        used: The share of that range that 99.9 % of its values use.
        clipped: The share of its own error that comes from values beyond the range.
        channel_spread: The largest channel's peak over the median channel's.
        findings: What is wrong; empty for a layer that does no harm.
    """

    name: str
    op_type: str
    module: str
    tensor: str
    position: int
    sqnr: float
    cosine: float
    own_sqnr: float
    own_cosine: float
    output_sqnr: float
    share: float
    range: tuple[float, float] | None
    used: float
    clipped: float
    channel_spread: float
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a quantized model.

    Attributes:
        source: Short name of the source.
        target: The target's name.
        precision: The precision of the model.
        batches: The number of batches that were used.
        output_sqnr: The SQNR of the outputs with everything rounded, in dB, from the mean noise of several outputs.
        layers: The worst first.
        notes: Notes for the reader, in whole sentences.
        artifacts: The artifacts of the result folder, if one was given.
    """

    source: str
    target: str
    precision: Precision
    batches: int
    output_sqnr: float
    layers: tuple[LayerDiagnosis, ...]
    notes: tuple[str, ...] = ()
    artifacts: tuple[ArtifactDiagnosis, ...] = ()

    @property
    def harmful(self) -> tuple[LayerDiagnosis, ...]:
        """The layers with findings."""
        return tuple(layer for layer in self.layers if layer.findings)

    @property
    def verdict(self) -> str:
        """Everything in one line."""
        whole = f"{self.precision} keeps the outputs to {self.output_sqnr:.1f} dB"
        if not self.harmful:
            return f"nothing is wrong: {whole}, and no layer hurts"
        share = sum(layer.share for layer in self.harmful)
        count = (
            f"{len(self.harmful)} of {len(self.layers)} layers cause" if len(self.harmful) > 1 else "one layer causes"
        )
        return f"{whole}; {count} {share:.0%} of the error"

    def as_dict(self) -> dict[str, Any]:
        """Returns the same as plain data."""
        return asdict(self) | {"verdict": self.verdict}


def read(path: Path) -> Diagnosis:
    """Reads what `edgecomp diagnose --json` printed.

    Raises:
        SourceError: It is something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        layers = tuple(
            LayerDiagnosis(**each | {"findings": tuple(Finding(**found) for found in each["findings"])})
            for each in document["layers"]
        )
        facts = {name: document[name] for name in ("source", "target", "precision", "batches", "output_sqnr")}
        return Diagnosis(**facts, layers=layers)
    except (OSError, ValueError, KeyError, TypeError) as error:
        actual = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise SourceError(
            str(path),
            expected="what `edgecomp diagnose SOURCE --json` printed",
            actual=str(actual),
            cure="run `edgecomp diagnose SOURCE --json > diagnosis.json` again",
        ) from None


def diagnose_model(
    model: CompressedModel,
    prepared: CompressedModel,
    batches: Sequence[Arrays],
    *,
    source: str,
    target: str,
    threads: int = 0,
    notes: Sequence[str] = (),
    suspects: int | None = None,
    progress: Progress = silent,
) -> Diagnosis:
    """Measures a quantized model and explains what hurts it.

    Args:
        model: Quantized.
        prepared: The same before quantization.
        batches: Typical inputs.
        source: For the report.
        target: For the report.
        threads: ONNX Runtime's threads; 0 for one per core.
        notes: For the report.
        suspects: How many layers to round alone, after a search for the worst (see `measure`); None for all.
        progress: Called as the work goes on.
    """
    measurement = measure(model, prepared, batches, threads=threads, suspects=suspects, progress=progress)
    layers = sorted(_layers(measurement, model, prepared), key=lambda layer: -layer.share)
    return Diagnosis(
        source, target, model.precision, len(batches), measurement.outputs.sqnr, tuple(layers), tuple(notes)
    )


def _layers(measurement: Measurement, model: CompressedModel, prepared: CompressedModel) -> Iterator[LayerDiagnosis]:
    values = {value.name: value for value in model.graph.graph.inputs}
    values |= {value.name: value for node in model.graph.graph for value in node.outputs}
    nodes = {node.name: node for node in model.graph.graph}
    for position, each in enumerate(measurement.layers):
        layer = each.layer
        node = nodes[layer.nodes[0]] if layer.nodes else values[layer.tensor].producer()
        evidence = Evidence(each, model, node, values[layer.tensor])
        parameters = evidence.parameters
        yield LayerDiagnosis(
            name=layer.name,
            op_type=layer.op_type,
            module=layer.module,
            tensor=layer.tensor,
            position=position,
            sqnr=each.all.sqnr,
            cosine=each.all.cosine,
            own_sqnr=each.own.sqnr,
            own_cosine=each.own.cosine,
            output_sqnr=each.alone.sqnr,
            share=each.share,
            range=None if parameters is None else parameters.range,
            used=evidence.used,
            clipped=each.clipped,
            channel_spread=evidence.channel_spread,
            findings=explain(evidence) if _hurts(evidence, measurement) else (),
        )


def _hurts(evidence: Evidence, measurement: Measurement) -> bool:
    measured = evidence.measured
    if evidence.given_out and measured.own.sqnr < DAMAGED:
        return True  # even if the other parts of the output are much larger
    if measurement.outputs.sqnr >= FINE:
        return False
    return measured.share >= NOTABLE and (measured.alone.sqnr < HARMFUL or measured.own.sqnr < DAMAGED)
