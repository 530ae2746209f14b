"""Pruning: sets weights to zero, and removes channels, heads and blocks.

The recipe's steps, which load no torch:

    channels.py      prune-channels: removes channels, neurons, heads and hidden units from the file and from the clock
    blocks.py        prune-blocks: removes whole residual blocks
    weights.py       prune-weights and prune-weights-gradually: sets single weights to zero, and keeps them there

How channels are removed, in this order:

    attention.py     replaces PyTorch's attention by one whose heads can be removed
    trace.py         records the tensor operations of one run
    rules.py         follows positions through each operation; layer_rules.py, recurrent_rules.py, reshapes.py and
                     scope.py are parts of it, units.py records what has to go together
    coupling.py      combines this into groups of channels that can be removed, and says why others cannot
    proof.py         tries the groups, because Python code may have sizes written into it
    criteria.py      the value of a channel, from evidence.py and data.py; lasso.py is a longer criterion
    selection.py     decides which channels go; sensitivity.py measures how much each layer can lose
    costs.py         what that saves
    surgery.py       cuts channels out of parameters, buffers and attributes
    reconstruction.py fits the remaining weights behind removed channels
    structured.py    all of this together
    residual.py      finds residual blocks and removes them
    unstructured.py  selects single weights at once; gradual.py does so during training
"""
