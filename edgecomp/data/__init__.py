"""Calibration and evaluation data: checked once, stored once, read as often as needed.

Data comes from generators that can be read only once, from loaders that shuffle, and from decoders that are slow. So
it is drawn exactly once, item by item, into a file without a name in the temporary folder (`TMPDIR` chooses it), and
every pass reads that file: memory does not grow with the data, every pass sees the same, and the hash in the
provenance is the hash of what was used.

Where a model has dynamic dimensions, every item may have sizes of its own there; dimensions of one name have one size
in all inputs of an item. Samples of one size are batched with each other (`spool.py` has the order).

Items may have any batch size. Axis 0 counts samples when all of the model's inputs have the same size there, and then
samples are regrouped into batches of exactly the model's size:

1. In calibration every sample counts once. Samples left at the end that do not fill a batch are dropped, because
   repeating some would give them more weight in every histogram; only when there is not even one full batch of a size
   are the samples of that size repeated in turn.
2. In evaluation every sample is used: the last batch of each size is filled up with copies of its last sample, and its
   labels, which are fewer, say how many outputs count.

If the inputs disagree on axis 0, or it is a length like other axes, it cannot count samples. Then each item is one
sample, and has exactly the model's shapes except for dynamic dimensions.

    inputs.py      what a graph requires of each input
    collecting.py  draws items, checks them, and stores them
    spool.py       the file: samples grouped by size, and the order of their batches
    samples.py     reads the file in batches that fit the graph
"""

from __future__ import annotations

from edgecomp.data.collecting import collect_calibration, collect_evaluation
from edgecomp.data.inputs import InputSpec
from edgecomp.data.samples import CalibrationData, EvaluationData

__all__ = [
    "CalibrationData",
    "EvaluationData",
    "InputSpec",
    "collect_calibration",
    "collect_evaluation",
]
