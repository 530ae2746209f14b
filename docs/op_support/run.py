"""Runs many trials in forked processes: what aborts or hangs ends its process, is recorded, and the next ones go on."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from forked import use_in_mnn
from node_tests import NodeTest
from trial import Outcome, outcomes

Trial = Callable[[NodeTest, str, Sequence[str]], Iterator[tuple[str, Outcome]]]
#: A test in a format.
Job = tuple[NodeTest, str]

_FORK = multiprocessing.get_context("fork")  # a fresh interpreter would import everything again
#: Jobs of a process: many, as a runtime's first inference takes long; not all, as native code might leak.
_BATCH = 40
#: Bytes that a process may ask for: no test needs a tenth of it.
_MEMORY = 8 << 30


@dataclass
class _Worker:
    """A process and the jobs that it has not ended yet; `found` is of the first of them."""

    jobs: list[Job]
    process: BaseProcess
    pipe: Connection
    deadline: float
    found: dict[str, Outcome] = field(default_factory=dict)


def run(
    jobs: Sequence[Job], precisions: Sequence[str], *, processes: int, limit: float, trial: Trial = outcomes
) -> Iterator[tuple[NodeTest, str, dict[str, Outcome]]]:
    """What became of each test in each format, as they end.

    Args:
        jobs: What to run.
        precisions: "fp32", "int8".
        processes: How many run at a time.
        limit: Seconds that a test may take in one format.
        trial: What is run in the processes.

    Yields:
        The test, the format, and precision -> outcome.
    """
    _import_runtimes({format_name for _, format_name in jobs})
    batches = [list(jobs[start : start + _BATCH]) for start in range(0, len(jobs), _BATCH)][::-1]
    workers: list[_Worker] = []
    try:
        while batches or workers:
            while batches and len(workers) < processes:
                workers.append(_start(batches.pop(), precisions, limit, trial))
            wait([worker.pipe for worker in workers], timeout=1)
            for worker in tuple(workers):
                ended = yield from _read(worker, precisions, limit)
                late = not ended and time.monotonic() > worker.deadline
                if ended or late:
                    workers.remove(worker)
                    ending = _stop(worker, kill=late)
                    if worker.jobs:
                        test, format_name = worker.jobs.pop(0)
                        yield test, format_name, {p: worker.found.get(p, ending) for p in precisions}
                        batches.extend([worker.jobs] if worker.jobs else [])
    finally:
        for worker in workers:
            _stop(worker, kill=True)


def _import_runtimes(formats: set[str]) -> None:
    """What every trial needs, imported once; no runtime is started, as its threads would not survive a fork."""
    from edgecomp.converter import load_converter

    for name in formats:
        load_converter(name)
    if "mnn" in formats:
        use_in_mnn()
    if "tflite" in formats:
        pass


def _start(jobs: list[Job], precisions: Sequence[str], limit: float, trial: Trial) -> _Worker:
    here, there = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_child, args=(there, trial, jobs, precisions))
    process.start()
    there.close()
    return _Worker(jobs, process, here, time.monotonic() + limit)


def _child(pipe: Connection, trial: Trial, jobs: Sequence[Job], precisions: Sequence[str]) -> None:
    os.setsid()  # so that what it starts ends with it
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    for test, format_name in jobs:
        for item in trial(test, format_name, precisions):
            pipe.send(item)
    pipe.close()
    os._exit(0)  # the exit handlers are the parent's


def _read(
    worker: _Worker, precisions: Sequence[str], limit: float
) -> Generator[tuple[NodeTest, str, dict[str, Outcome]], None, bool]:
    """Takes what has come, gives on the jobs that are complete, and returns whether the process has ended."""
    try:
        while worker.pipe.poll():
            precision, outcome = worker.pipe.recv()
            worker.found[precision] = outcome
            if len(worker.found) == len(precisions):
                yield *worker.jobs.pop(0), worker.found
                worker.found, worker.deadline = {}, time.monotonic() + limit
    except EOFError:
        return True
    return False


def _stop(worker: _Worker, *, kill: bool) -> Outcome:
    """Waits for the end of a process, or brings it about; returns what that means for the job that it was at."""
    if kill:
        worker.process.kill()
        with suppress(ProcessLookupError):
            os.killpg(worker.process.pid or 0, signal.SIGKILL)
    worker.process.join()
    worker.pipe.close()
    if kill:
        return Outcome("hung", "no answer in time")
    code = worker.process.exitcode or 0
    return Outcome("crashed", f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")
