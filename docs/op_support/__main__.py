"""Runs ONNX's backend node tests through the converters and writes docs/op-support.md from what comes out.

python docs/op_support                                  # everything; writes the page and results.json
python docs/op_support --format tflite --only topk      # prints what a few tests do, and writes nothing
python docs/op_support --page                           # writes the page again from results.json
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import page
from node_tests import collect_cached
from results import Results
from run import Job, run

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
PAGE = HERE.parent / "op-support.md"
CACHE = HERE.parents[1] / "build" / "op-support"
#: `ort` is ONNX Runtime again, from the same model, so it is run on request only.
FORMATS = ("tflite", "onnxruntime", "mnn")
PRECISIONS = ("fp32", "int8")
_PACKAGES = ("onnx", "onnxruntime", "ai-edge-litert", "MNN")


def main() -> int:
    """Runs what the command line asks for."""
    arguments = _parse()
    tests = [test for test in collect_cached(CACHE) if arguments.only.replace("_", "") in test.name.replace("_", "")]
    whole = not arguments.only
    if arguments.page:
        PAGE.write_text(page.render(Results.read(RESULTS), tests), "utf-8")
        return 0
    versions = {package: version(package) for package in _PACKAGES}
    # A run of some formats leaves what the others gave.
    results = Results.read(RESULTS) if whole and RESULTS.exists() else Results(versions)
    results.versions = versions
    start, counts = time.monotonic(), Counter[str]()
    jobs = [(test, name) for name in arguments.format for test in tests]
    if arguments.retry:
        jobs = [job for job in jobs if _ended_so(results, job, arguments.retry, arguments.precision)]
    for test, format_name, found in run(jobs, arguments.precision, processes=arguments.jobs, limit=arguments.limit):
        for precision, outcome in found.items():
            results.columns[format_name, precision][test.name] = outcome
            counts[outcome.status] += 1
            if arguments.verbose or outcome.status not in {"passed", "nothing"}:
                print(f"{format_name} {precision} {test.name}: {outcome.status}: {outcome.reason}")
    print(f"{len(jobs)} trials in {time.monotonic() - start:.0f} s: {dict(counts)}", file=sys.stderr)
    if whole:
        results.write(RESULTS)
        PAGE.write_text(page.render(results, tests), "utf-8")
    return 0


def _ended_so(results: Results, job: Job, statuses: Sequence[str], precisions: Sequence[str]) -> bool:
    test, format_name = job
    columns = [results.columns[format_name, precision] for precision in precisions]
    return any(test.name not in column or column[test.name].status in statuses for column in columns)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", action="append", help="a converter; may be repeated")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="may be repeated")
    parser.add_argument("--only", default="", help="tests whose name has this in it; writes nothing")
    parser.add_argument("--retry", action="append", help="only what ended so in results.json; may be repeated")
    parser.add_argument("--limit", type=float, default=120, help="seconds for a test in one format")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    parser.add_argument("--verbose", action="store_true", help="print what passed too")
    arguments = parser.parse_args()
    arguments.format = arguments.format or list(FORMATS)
    arguments.precision = arguments.precision or list(PRECISIONS)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
