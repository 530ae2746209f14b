"""Quantization-aware training on the quantized graph: weights and scales are learned where the table has them.

The graph is what static quantization left: BatchNorm is folded, every rounded tensor is listed. `GraphModule` runs it
in torch with the same rounding at the same tensors, tensors of one group share one scale, and what is learned goes
back into graph and table, from which simulation and artifacts are made as ever.

    step.py      the recipe's step: its settings and what it does
    rounding.py  rounding to a grid with a learned step size
    places.py    which tensors are rounded, and who reads them rounded
    module.py    the graph as a torch module that rounds
    result.py    what was learned, written back
"""
