"""Distillation: a student learns from labels and from what teachers make of the same inputs.

step.py         the recipe's step: its settings, who teaches whom
objective.py    one run of student and teachers, and the sum of the terms that compare them
lessons.py      what teachers give for the training data, computed once
terms.py        the terms: labels, outputs (KL, MSE), features, attention; one small function each
features.py     pairs of layers, and the projections between them
adversarial.py  inputs that are moved to where the student is wrong
"""
