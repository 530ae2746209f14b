"""Quantization-aware training: trains weights and scales on the quantized graph.

It starts from the graph that static quantization left: BatchNorm is folded, and every rounded tensor is in the table.
`GraphModule` runs it in torch with the same rounding of the same tensors; tensors of one group share one scale. The
result goes back into graph and table, from which simulation and artifacts are made as usual.

    step.py      the recipe's step: its settings and what it does
    rounding.py  rounding to a grid with a learned step size
    places.py    which tensors are rounded, and which nodes read them rounded
    module.py    the graph as a torch module that rounds
    result.py    writes what was learned back into the model
"""
