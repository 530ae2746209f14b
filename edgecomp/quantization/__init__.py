"""Quantization after training: CompressedModel -> CompressedModel, on the graph.

The rules:

    scheme.py            the portable int8 scheme
    parameters.py        scale and zero point, and the two functions that apply them; packing.py: int4 in bytes
    attention.py, relative.py, joins.py  what stays float: residual streams and masks; ratios; outputs that are joined
    groups.py            tensors that share parameters
    multipliers.py       what kernels can multiply with
    float_share.py       how much of a model stays float, and why

Recipe steps that choose a precision:

    static.py            int8 and int16x8, from calibration data; choice.py compares several ways in simulation
    weights.py           dynamic-int8, weight-int8 and weight-int4; tables.py: tables of rows, which Gather reads
    half.py              fp16

How numbers are found:

    calibration.py       statistics of tensors over the data; synthetic.py makes data up
    estimators.py        from statistics to ranges; weight_ranges.py the same for weights
    bias_correction.py   the mean error of rounded weights, taken back by biases
    completion.py        makes a table that came with a source obey the scheme

What becomes of them:

    qdq.py               the table as QuantizeLinear / DequantizeLinear pairs
    simulation.py        the simulation that predicts every artifact; exact_sums.py adds up integers as runtimes do
"""
