"""`edgecomp demo`: the main job on data that ships with it."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from edgecomp.cli import common
from edgecomp.cli.common import AsJson, Debug, command


@command
def run(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Keep the result in this folder.")] = None,
    target: Annotated[str, typer.Option(help="The device to compress for.")] = "raspberry-pi-4b",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train a small network on handwritten digits, compress it, and show that the artifacts agree."""
    from edgecomp.benchmark import measure_local
    from edgecomp.pipeline import compress
    from edgecomp.converter import load_converter

    with tempfile.TemporaryDirectory(prefix="edgecomp-demo-") as temporary, common.progress_bar(hidden=as_json) as progress:
        result = compress("edgecomp.demo:model", target, output or Path(temporary) / "digits", progress=progress)
        float_file = Path(temporary) / "original.onnx"
        write_float(result, float_file)
        rows = {"original": float_file, **{path.name: path for path in result.artifacts.values()}}
        latencies = {}
        for done, (name, path) in enumerate(rows.items()):
            progress("measure", done, len(rows))
            latencies[name] = measure_local(path, runs=200, warmup=20).median
        runtimes = {path.name: load_converter(name).runtime for name, path in result.artifacts.items()}
        if as_json:
            common.print_json({**result.manifest, "latency_ms": latencies, "measured_on": _machine()})
            return
        from edgecomp.cli.tables import agreement_table

        console = common.stdout()
        console.print(agreement_table(result, latencies, measured_on="this PC"))
        console.print("metric: accuracy on 500 digits that the network was not trained on")
        for name, runtime in runtimes.items():
            console.print(f"{name} ran in {runtime}", markup=False)
        console.print(f"latency: median of 200 runs, 1 thread, {_machine()}, not the {target}; the original in ONNX Runtime")
        if output is not None:
            console.print(f"kept in {output}", markup=False)


def write_float(result: object, path: Path) -> None:
    """The float graph as an `.onnx` file, for comparison."""
    from dataclasses import replace

    from edgecomp.pipeline import Result
    from edgecomp.converter import ConversionOptions, load_converter

    assert isinstance(result, Result)
    load_converter("onnxruntime").convert(replace(result.model, quantization={}), path, ConversionOptions())


def _machine() -> str:
    return f"this PC ({platform.machine()})"
