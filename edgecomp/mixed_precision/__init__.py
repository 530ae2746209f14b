"""Mixed precision: keeps some layers in float and the rest in integers, to meet a promise about accuracy.

step.py     the recipe step
promise.py  the accuracy to keep; budget.py: the cost to stay within
search.py   finds the layers to keep in float
islands.py  finds the nodes that have to compute in float for that
"""
