"""Compression during training: nn.Module -> nn.Module, before there is a graph.

Recipe steps, one file or folder each:

    pruning/                removes channels and blocks, and sets single weights to zero
    low_rank/               factorizes layers and embedding tables
    fine_tuning.py          continues training with the task's loss
    distillation/           trains with teachers
    quantization_aware/     trains the graph with the rounding of the artifacts
    training/               the training loop behind all of them

What they share:

    run.py                  runs a recipe's steps and exports the module that results
    data.py, moments.py     calibration data as tensors; mean and covariance of layer inputs
    evaluation.py, likeness.py  the quality of a module: the task's metric, or the similarity of its outputs
    protection.py, replacement.py  layers that a step must leave alone; swapping submodules
    size.py                 parameters and multiplications
"""
