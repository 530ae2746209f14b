"""Low rank: a layer becomes two to four thin ones whose product is nearly the same, where that costs less.

settings.py         the recipe's step
decompositions.py   matrices and convolution kernels as products, on tensors alone
allocation.py       which layers get which ranks: by a rule for each, or together within a budget
ranks.py            how many singular values count
sites.py            the layers of a module that can be factorized, and how often they compute
schemes.py          the ways to factorize a layer: ranks, cost, and the layers that it becomes
factorization.py    which layer is factorized how, and the surgery
embeddings.py       the recipe's step for embedding tables
tables.py           which of their rows matter, their ranks, and the surgery
"""
