"""Some layers in float, the rest in integers: which ones, for a promise about accuracy.

step.py     the recipe step
promise.py  what the model has to keep; budget.py: what it may cost
search.py   finds the layers to keep in float
islands.py  which nodes must compute in float for that
"""
