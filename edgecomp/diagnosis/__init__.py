"""Which layers of a quantized model cause the error of its outputs, why, and what helps.

run.py         from a source to a diagnosis: `edgecomp diagnose`
layers.py      the places where a quantized model rounds numbers
probe.py       the float graph, in which any choice of layers can be rounded
measure.py     what each layer does to its own tensor and to the outputs, summed up by errors.py
evidence.py    what is known of one layer; findings.py: why it hurts, a function for each cause
doubts.py      reasons to doubt the calibration data
artifacts.py   what the runtimes of a result add to the error
report.py      measurements and findings together; picture.py draws them
advice.py      what to do when verification rejects a model
"""
