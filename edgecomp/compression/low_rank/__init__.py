"""Low rank: replaces a layer by two to four thin ones with nearly the same product, where that costs less.

settings.py         the recipe's step
decompositions.py   matrices and convolution kernels as products, on plain tensors
allocation.py       which layers get which ranks: by a rule for each, or together within a budget
ranks.py            rules that decide how many singular values to keep
sites.py            the layers that can be factorized, and how much they compute
schemes.py          the ways to factorize a layer: ranks, cost, and the resulting layers
factorization.py    decides how each layer is factorized, and replaces it
embeddings.py       the recipe's step for embedding tables
tables.py           factorizes embedding tables: which rows matter, their ranks, and the replacement
"""
