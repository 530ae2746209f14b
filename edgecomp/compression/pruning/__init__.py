"""Pruning: weights that become zero, and channels, heads and blocks that are removed.

The recipe's steps, which load no torch:

    channels.py      prune-channels: channels, neurons, heads, hidden units, gone from the file and from the clock
    blocks.py        prune-blocks: whole residual blocks
    weights.py       prune-weights and prune-weights-gradually: single weights become zero, and stay so

How channels are removed, in the order in which it happens:

    attention.py     attention of PyTorch becomes one that heads can be taken from
    trace.py         records the tensor operations of one run
    rules.py         what each operation says of the positions along its tensors: layer_rules.py, recurrent_rules.py,
                     reshapes.py and scope.py are parts of it, units.py keeps what belongs together
    coupling.py      puts that together: groups of channels that can be removed, and why others cannot
    proof.py         tries them: Python code may have sizes written into it
    criteria.py      what a channel is worth, by evidence.py from data.py; lasso.py is one that takes more to say
    selection.py     which channels go; sensitivity.py says how much each layer can lose
    costs.py         what that saves
    surgery.py       cuts them out of parameters, buffers and attributes
    reconstruction.py fits what is left behind removed channels
    structured.py    all of this together

    residual.py      finds residual blocks and removes them
    unstructured.py  which single weights go at once; gradual.py: while training goes on
"""
