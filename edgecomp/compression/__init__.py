"""Compression during training: nn.Module -> nn.Module, before there is a graph.

Recipe steps, one file or folder each:

    pruning/                channels, blocks and single weights
    low_rank/               layers and word tables in factors
    fine_tuning.py          training on with the task's loss
    distillation/           training with teachers
    quantization_aware/     training with the rounding of the artifacts, on the graph
    training/               the loop behind everything that trains

What they share:

    run.py                  runs a recipe's steps, and makes a source of what they leave
    data.py, moments.py     calibration data as tensors; mean and covariance of what layers take in
    evaluation.py, likeness.py  how good a module is: by the task's metric, or by how alike its outputs stay
    protection.py, replacement.py  layers to leave alone; other modules in their places
    size.py                 parameters and multiplications
"""
