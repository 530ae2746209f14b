"""`edgecomp bench`: measure on devices, and compare measurements."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, say, stderr, table
from edgecomp.errors import InputError
from edgecomp.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from edgecomp.devices.device import Device
    from edgecomp.devices.measuring import Progress
    from edgecomp.devices.results import ArtifactResult, DeviceResult


@command
def run(
    source: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A folder that compress or convert wrote, or one artifact.")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="local, ssh://[user@]host[:port], adb[:serial], emulated:CORE, or FARM.toml; repeatable."),
    ] = None,
    formats: Annotated[str | None, typer.Option(help="Measure only these formats: tflite,onnxruntime,mnn.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Timed inferences.")] = 50,
    warmup: Annotated[int, typer.Option(min=0, help="Inferences before the timed ones.")] = 10,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    profile: Annotated[bool, typer.Option("--profile", help="Time each operator too.")] = False,
    setup: Annotated[
        bool, typer.Option("--setup", help="First install the runtimes that the target profile recommends.")
    ] = False,
    offline: Annotated[
        Path | None,
        typer.Option(metavar="WHEELS", help="The same from a folder of wheels, which this machine fills."),
    ] = None,
    native: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Has libonnxruntime.so, for devices without Python; see docs/boards.md."),
    ] = None,
    ssh_config: Annotated[Path | None, typer.Option(help="OpenSSH configuration file, instead of your own.")] = None,
    sysroot: Annotated[
        Path | None, typer.Option(envvar="EDGECOMP_SYSROOT", help="Root file system of emulated devices.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="BEFORE.json AFTER.json", help="Compare two results instead of measuring."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="With --compare: how much slower is not yet a regression.")
    ] = 0.05,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Measure artifacts on this machine, on boards and on phones.

    Results are kept beside the artifacts.
    """
    if compare is not None:
        return _compare(*compare, tolerance)
    how = {"runs": runs, "warmup": warmup, "threads": threads, "profile": profile}
    where = {"setup": setup, "wheels": offline, "native": native, "ssh_config": ssh_config, "sysroot": sysroot}
    return _measure(source, device or ["local"], None if formats is None else formats.split(","), how | where)


def _measure(
    source: Path | None, words: Sequence[str], formats: Sequence[str] | None, settings: dict[str, Any]
) -> Answer:
    from edgecomp.devices import results
    from edgecomp.devices.device import parse_devices
    from edgecomp.devices.measuring import Measuring, Settings, job_of

    if source is None:
        raise InputError("DIR", expected="a folder or an artifact to measure", actual="none", cure="name one")
    devices = parse_devices(words)
    job = job_of(source, formats)
    found: list[DeviceResult] = []
    files: list[Path] = []
    with _progress(devices) as progress:
        for result in Measuring(job, Settings(**settings), progress).run(devices):
            found.append(result)
            if result.artifacts:
                files.append(results.store(job.folder, result))
    if len(devices) == 1 and found[0].error is not None and not found[0].artifacts:
        raise found[0].error

    def show(console: Console) -> None:
        for result in found:
            _show(console, result, profiled=settings["profile"])
        say(console, *(f"kept in {file}" for file in files))

    document = {"devices": [result.as_dict() for result in found], "files": [str(file) for file in files]}
    return Answer(document, show, exit_code=max(_exit_code(result) for result in found))


def _compare(before: Path, after: Path, tolerance: float) -> Answer:
    from edgecomp.devices import results
    from edgecomp.devices.regression import compare_documents

    found = compare_documents(results.read(before), results.read(after), tolerance)

    def show(console: Console) -> None:
        made = table("", ">after / before", ">95 % interval", "verdict")
        for entry in found:
            ratio = entry.comparison
            words = "SLOWER" if entry.regressed else "faster" if ratio.high < 1 else "no regression"
            note = "" if entry.same_model else " (another model file)"
            made.add_row(entry.file, f"{ratio.ratio:.3f}", f"{ratio.low:.3f} - {ratio.high:.3f}", words + note)
        console.print(made)
        say(console, f"in {found[0].unit}; SLOWER: beyond {tolerance:.0%}, also at the interval's lower end")

    document = {"tolerance": tolerance, "artifacts": [entry.as_dict() for entry in found]}
    return Answer(document, show, exit_code=int(any(entry.regressed for entry in found)))


def _exit_code(result: DeviceResult) -> int:
    """That of the device's error; 1 when an artifact crashed or does not compute what it should."""
    if result.error is not None:
        return result.error.exit_code
    broken = any(
        entry.result["golden"] is not None and not entry.result["golden"]["agrees"]
        if entry.result is not None
        else not entry.left_out
        for entry in result.artifacts
    )
    return int(broken)


def _show(console: Console, result: DeviceResult, *, profiled: bool) -> None:
    """A device's table, and what has to be said about it."""
    say(console, *_heading(result))
    emulated = result.device.scheme == "emulated"
    timed = (">p50", ">p90", ">min", ">first", ">load", ">memory")
    made = table("", *([">emulated instructions"] if emulated else timed), "golden")
    for entry in result.artifacts:
        if entry.result is not None:
            made.add_row(entry.file, *_row(entry.result))
    if made.row_count:
        console.print(made)
    for entry in result.artifacts:
        remarks = [*_remarks(entry), *(_operators(entry) if profiled else ())]
        say(console, *(f"{entry.file}: {remark}" for remark in remarks))
    if result.error is not None:
        say(console, f"error: {result.error}")


def _heading(result: DeviceResult) -> Iterator[str]:
    """Which device, and what was found there."""
    yield f"{result.device.name} ({result.device.url})"
    measured = next((entry.result for entry in result.artifacts if entry.result is not None), None)
    if measured is not None:
        machine, settings = measured["machine"], measured["settings"]
        cpu = machine["cpu"]
        what = machine["board"] or cpu["model"] or machine["machine"]
        threads = f"{settings['threads']} thread{'' if settings['threads'] == 1 else 's'}"
        yield f"  {what}, {cpu['usable'] or cpu['count']} cores, {machine['os']}; {threads}, {settings['runs']} runs"


def _row(result: Mapping[str, Any]) -> tuple[str, ...]:
    """An artifact's figures."""
    agrees = _agreement(result["golden"])
    if "emulated_instructions" in result:
        return f"{result['emulated_instructions']['median'] / 1e6:.3f} million", agrees
    latency, memory = result["latency_ms"], result["memory_bytes"]["peak"]
    times = [latency[key] for key in ("p50", "p90", "min")] + [result["first_inference_ms"], result["load_ms"]]
    return *(f"{time:.3g} ms" for time in times), "" if memory is None else format_size(memory), agrees


def _agreement(golden: Mapping[str, Any] | None) -> str:
    """Whether the outputs are golden's, and how far away where that is known in steps."""
    if golden is None:
        return "-"
    steps = [output["steps"] for output in golden["outputs"] if output["steps"] is not None]
    words = "agrees" if golden["agrees"] else "DISAGREES"
    away = round(max(steps, default=0))
    return f"{words} ({away} step{'' if away == 1 else 's'})" if away else words


def _remarks(entry: ArtifactResult) -> Iterator[str]:
    """What a person has to know before believing the figures."""
    if entry.error is not None:
        yield ("left out: " if entry.left_out else "failed: ") + f"{entry.error['actual']}; {entry.error['cure']}"
        return
    if entry.result is None or "emulated_instructions" in entry.result:
        return
    steady, throttling = entry.result["steady_state"], entry.result["conditions"]["after"]["throttling"]
    if steady["steady"] is False:
        yield steady["verdict"]
    if throttling is not None and throttling["now"]:
        yield f"the board says: {', '.join(throttling['now'])}"


def _operators(entry: ArtifactResult, limit: int = 3) -> Iterator[str]:
    """Where the time goes, as far as the runtime tells."""
    if entry.result is None or "emulated_instructions" in entry.result:
        return
    times = entry.result["profile"]
    if times is None:
        yield "its runtime does not tell how long an operator takes"
        return
    slowest = sorted(times, key=lambda operator: -operator["mean_ms"])[:limit]
    listed = ", ".join(f"{operator['op']} {operator['name']} {operator['mean_ms']:.3g} ms" for operator in slowest)
    yield f"slowest of {len(times)} operators: {listed}; `edgecomp explain --results` says more"


@contextlib.contextmanager
def _progress(devices: Sequence[Device]) -> Iterator[Progress]:
    """A bar for each device while a person is watching."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = stderr()
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {device.name: bars.add_task(f"{device.name}: connect", total=None) for device in devices}

        def move(device: Device, stage: str, done: int, total: int) -> None:
            bars.update(tasks[device.name], description=f"{device.name}: {stage}", completed=done, total=total)

        yield move
