"""EfficientNet-Lite0 from torch to three verified artifacts: what it costs, and how the artifacts compare with others'.

    make bench
    python benchmarks/compress_lite0.py [--peer-python PYTHON] [--json]

Three questions, each with its targets beside the figures:

1. The command `edgecomp compress examples/efficientnet_lite0.py --target raspberry-pi-4b` in fresh processes: time,
   memory, and where the time goes. The stages come from one more run, through the Python API.
2. Two steps alone, in this process: graph to TFLite, and calibration against bare passes of the float graph.
3. Every artifact on one thread against peers on the same runtime: latency, and what becomes of the predictions. Peers
   are made from the same float graph and the same photos.

What is compared is interleaved, so that a busy machine troubles both sides alike. Latency is measured twice, both times
with the clock of `device_scripts/bench.py`. In processes of their own, all artifacts in every round: that gives the
milliseconds, which are this machine's at this hour, and a ratio from `edgecomp.benchmark.compare` for each round. And
alternately, one inference of each artifact of a runtime after the other in one process: that ratio is judged, since a
neighbour that comes and goes within seconds troubles it least. An interval is the sign test's for the median, with
rounds, or blocks of turns, as samples: neighbouring latencies are too alike to count one by one.

Nothing is installed. A peer that is missing is named with what would bring it; `ai-edge-quantizer` may live in another
environment, whose interpreter `--peer-python` names.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from lite0_artifacts import add_accuracies, add_ratios, alternate, make_candidates, measure_latencies
from lite0_command import command_figures, stage_figures
from lite0_report import document, machine, show
from lite0_steps import load_subject, step_figures
from rich.console import Console


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compressions", type=int, default=3, help="runs of the whole command")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds of everything else")
    parser.add_argument("--runs", type=int, default=30, help="timed inferences in each round")
    parser.add_argument("--turns", type=int, default=300, help="alternating inferences of each artifact")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has ai-edge-quantizer")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the tables")
    arguments = parser.parse_args()
    notes = Console(stderr=True, highlight=False)
    # MNN prints to descriptor 1: from here on that is stderr.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with answer, tempfile.TemporaryDirectory(prefix="edgecomp-") as name:
        folder = Path(name)
        notes.print(machine())
        notes.print(f"the command, {arguments.compressions} times, and once more for its stages")
        figures = command_figures(arguments.compressions, folder)
        figures += stage_figures(folder)
        notes.print("the steps alone")
        subject = load_subject()
        steps, quantized, seconds = step_figures(subject, max(3, arguments.rounds // 2), folder)
        notes.print("the peers' artifacts")
        candidates = make_candidates(subject, quantized, seconds, folder, arguments.peer_python)
        measure_latencies(candidates, arguments.rounds, arguments.runs, notes.print)
        alternate(candidates, arguments.turns, notes.print)
        add_ratios(candidates)
        add_accuracies(candidates, subject, notes.print)
        figures += steps
        if arguments.json:
            json.dump(document(figures, candidates), answer, indent=2)
        else:
            show(figures, candidates, len(subject.labelled), Console(file=answer, highlight=False, width=220))


if __name__ == "__main__":
    main()
