"""A graph as a torch module that can be differentiated: what training on a graph needs, wherever the graph comes from.

    from edgecomp.graph_module.module import GraphModule

    module = GraphModule(model.graph, trainable=["stem.weight"])     # float arithmetic, all inputs and outputs
    block = GraphModule(model.graph, inputs=["a"], outputs=["b"])    # only the nodes between two tensors

    module.py       runs the nodes in order, many samples at a time
    ops/            what each operator is in torch: tables of small functions, grouped by what operators do

Operators that are missing here are decomposed first (`graph.decompose`); one that cannot be is refused by name. What is
particular to quantization-aware training lies with it, in `compression.quantization_aware`.
"""
