"""Verification: proof that the artifacts compute what the original model does.

Each artifact runs in its real runtime, on the same samples as the original and the simulation of the quantized graph.
The numbers that compare them are the agreement matrix; what is out of tolerance is a violation, and `compress` fails.

    agreement.py      runs everything on the same samples, compares each pair and judges: `verify`
    original.py       the source model as the reference, at the speed of its graph
    samples.py        what models run on: batches of inputs, with or without labels
    recording.py      runs models on samples and keeps their outputs on disk
    comparison.py     how far two lists of outputs are apart
    decisions.py      scores and labels as decisions, counted by class
    metrics.py        what a task measures on labelled data: by name, or functions of its own
    answers.py        which answers change from one model to another, and what each class loses
    ranking.py        puts rows that scores give an order into the places that they stand for
    tolerance.py      how far they may be
    result.py         what was measured, and what was out of tolerance
    sizes.py          the same at other sizes of dynamic dimensions
    complete.py       all of it for one job: on its data, and at other sizes
    golden.py         one sample with its outputs, for devices to prove that they compute the same
    result_folder.py  verifies a folder again, long after it was written: `edgecomp verify`
"""
