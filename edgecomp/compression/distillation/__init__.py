"""Distillation: a student learns from labels and from the outputs of teachers.

step.py         the recipe's step: its settings, and which student learns from which teachers
objective.py    runs student and teachers on a batch, and sums the terms that compare them
lessons.py      the teachers' outputs for the training data, computed once
terms.py        the terms: labels, outputs (KL, MSE), features, attention; one small function each
features.py     pairs of layers, and the projections between them
adversarial.py  moves inputs to where the student is wrong
"""
