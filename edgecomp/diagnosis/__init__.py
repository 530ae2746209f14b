"""Finds the layers of a quantized model that cause the error of its outputs, says why, and what helps.

run.py         from a source to a diagnosis: `edgecomp diagnose`
layers.py      the places where a quantized model rounds values
probe.py       the float graph, in which any selection of layers can be rounded
measure.py     the effect of each layer on its own tensor and on the outputs; errors.py sums it up
evidence.py    the facts about one layer; findings.py: why it hurts, with a function for each cause
doubts.py      reasons to doubt the calibration data
artifacts.py   what the runtimes of a result add to the error
report.py      combines measurements and findings; picture.py draws them
advice.py      what to do when verification rejects a model
"""
