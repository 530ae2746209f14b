"""A graph as a differentiable torch module, for training on graphs from any source.

    from edgecomp.graph_module.module import GraphModule

    module = GraphModule(model.graph, trainable=["stem.weight"])     # float arithmetic, all inputs and outputs
    block = GraphModule(model.graph, inputs=["a"], outputs=["b"])    # only the nodes between two tensors

    module.py       runs the nodes in order, several samples at a time
    ops/            the operators in torch: tables of small functions, grouped by purpose

Operators that are missing here are decomposed first (`graph.decompose`); one that cannot be is refused by name. The
parts that are specific to quantization-aware training are in `compression.quantization_aware`.
"""
