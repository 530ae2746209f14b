"""Recovers accuracy that integers cost, without training: steps on the graph, one file each.

Recipe steps before rounding:

    equalization.py  gives channels between two layers similar ranges; balance.py chooses the factors
    smoothing.py     scales down large channels of Transformers
    absorption.py    moves high biases behind a Relu

Recipe steps after rounding:

    gptq.py, adaround.py  round weights layer by layer; layers.py measures the cost of rounding, guard.py its benefit
    block_rounding.py     rounds several layers together; blocks.py cuts the graph, soft_rounding.py runs it in torch
    channels.py      statistics of single channels on calibration data
    effort.py        the steps of each `--effort`
"""
