"""Pruning: weights that become zero, and channels, heads and blocks that are removed.

Structured pruning, in the order in which it happens:

- `trace` records the tensor operations of one run;
- `rules` says of each operation which positions of its tensors belong together, in `units`;
- `coupling` puts these together: the groups of channels that can be removed, and why others cannot;
- `criteria` says what a channel is worth, `selection` which go, `costs` what that saves;
- `surgery` cuts them out of parameters, buffers and attributes;
- `structured` is the recipe's step.
"""
