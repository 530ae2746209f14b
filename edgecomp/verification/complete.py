"""The whole verification of what one job made: on its data, and for a dynamic model at other sizes too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from edgecomp.frontends import Source
from edgecomp.graph.places import place_outputs
from edgecomp.graph.rankings import rankings
from edgecomp.graph.shares import share_outputs
from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation
from edgecomp.system.memory import freed_at_once, give_back
from edgecomp.system.threads import one_torch_thread
from edgecomp.verification.agreement import verify
from edgecomp.verification.metrics import Metrics
from edgecomp.verification.original import Original
from edgecomp.verification.result import Verification
from edgecomp.verification.samples import Run, Samples
from edgecomp.verification.sizes import verify_sizes, verify_unfit
from edgecomp.verification.tolerance import Tolerance

#: Samples that are not worth a copy of the weights as ONNX Runtime's kernels like them best.
_FEW = 8


@freed_at_once()
def verify_completely(
    source: Source,
    float_model: CompressedModel,
    model: CompressedModel,
    artifacts: Sequence[Path],
    samples: Samples,
    *,
    tolerance: Tolerance,
    seen: Mapping[str, Sequence[int]],
    progress: Callable[[int, int], None],
) -> Verification:
    """Runs everything on the samples, and at other sizes where sizes are dynamic.

    Args:
        source: The model as the user brought it.
        float_model: Its simplified graph.
        model: What the artifacts were made of.
        artifacts: Their files.
        samples: What to compare on.
        tolerance: What to hold artifacts to.
        seen: Dimension -> the smallest and the largest size of the samples.
        progress: Called with the number of finished runs and their total.
    """
    graph = model.graph.graph
    inputs, outputs = ([value.name or "" for value in values] for values in (graph.inputs, graph.outputs))
    many = len(samples) > _FEW

    def original() -> Run:
        give_back()
        # A source that is quantized itself is its own reference: its float graph computes something else.
        return source.reference if float_model.quantization else Original(source, float_model, lasting=many).run

    def simulation() -> Run:
        give_back()
        return Simulation(model, threads=1, lasting=many).run

    openers: tuple[Callable[[], Run], Callable[[], Run]] = original, simulation
    if model.dynamic is not None:  # there are more sizes to run at
        openers = cache(original), cache(simulation)
    steps, simplified = output_steps(model), float_model.graph.graph
    shares, places, ranked = share_outputs(simplified), place_outputs(simplified), rankings(simplified)

    def run(paths: Sequence[Path], batches: Samples, metrics: Metrics | None = None) -> Verification:
        return verify(
            paths,
            openers[0],
            None if model.precision == "fp32" else openers[1],
            batches,
            inputs=inputs,
            outputs=outputs,
            steps=steps,
            shares=shares,
            places=places,
            ranked=ranked,
            metrics=metrics,
            tolerance=tolerance,
            progress=progress,
        )

    with one_torch_thread():
        found = run(artifacts, samples, source.metrics)
        if model.dynamic is None:
            return found
        found = verify_unfit(run, artifacts, found, model.dynamic, samples)
        return verify_sizes(run, artifacts, found, model.dynamic, seen, source.answers)


def output_steps(model: CompressedModel) -> dict[str, float]:
    """The quantization step of each quantized output."""
    names = [value.name or "" for value in model.graph.graph.outputs]
    return {name: float(model.quantization[name].scale) for name in names if name in model.quantization}
