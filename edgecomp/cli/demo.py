"""`edgecomp demo`: the main job on data that ships with it."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, progress_bar, say

if TYPE_CHECKING:
    from rich.console import Console

    from edgecomp.pipeline import Result

_RUNS = 200


@command
def run(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Keep the result in this folder; it must not exist.")
    ] = None,
    target: Annotated[str, typer.Option(help="The device to compress for.")] = "raspberry-pi-4b",
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Train a small network, compress it, verify the artifacts."""
    from edgecomp.benchmark import measure_local
    from edgecomp.pipeline import compress

    with tempfile.TemporaryDirectory(prefix="edgecomp-demo-") as name, progress_bar() as progress:
        result = compress("edgecomp.demo:model", target, output or Path(name) / "digits", progress=progress)
        files = {"original": Path(name) / "original.onnx"} | {path.name: path for path in result.artifacts.values()}
        _write_float(result, files["original"])
        latencies = {}
        for done, (row, path) in enumerate(files.items()):
            progress("measure", done, len(files))
            latencies[row] = measure_local(path, runs=_RUNS, warmup=20).latency.p50
    machine = f"this PC ({platform.machine()})"

    def show(console: Console) -> None:
        from edgecomp.cli.tables import agreement_table, legend

        runtimes = [f"{artifact['file']} in {artifact['runtime']}" for artifact in result.manifest["artifacts"]]
        console.print(agreement_table(result, latencies))
        say(
            console,
            f"compared on {result.verification.samples} digits that the network was not trained on",
            legend(result),
            f"latency: median of {_RUNS} runs on one thread of {machine}, which is not a {target};",
            f"{', '.join(runtimes)}, the original in ONNX Runtime",
            *([] if output is None else [f"kept in {output}"]),
        )

    return Answer({**result.manifest, "latency_ms": latencies, "measured_on": machine}, show)


def _write_float(result: Result, path: Path) -> None:
    """The float graph as an `.onnx` file, to compare latencies with."""
    from dataclasses import replace

    from edgecomp.converter import ConversionOptions, load_converter

    load_converter("onnxruntime").convert(replace(result.model, quantization={}), path, ConversionOptions())
