"""What brings back accuracy that integers cost, without training: steps on the graph, one file each.

Recipe steps before rounding:

    equalization.py  channels between two layers get ranges of similar size; balance.py: by how much
    smoothing.py     large channels of Transformers
    absorption.py    high biases move behind a Relu

Recipe steps after rounding:

    gptq.py, adaround.py  weights rounded layer by layer; layers.py: what rounding costs, guard.py: whether it helped
    block_rounding.py     several layers together; blocks.py cuts the graph, soft_rounding.py runs it in torch

    channels.py      what calibration data do to single channels
    effort.py        the steps of each `--effort`
"""
