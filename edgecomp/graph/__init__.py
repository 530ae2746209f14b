"""Passes over the float graph, and the questions that everything else asks of it.

Simplification, in `simplify.py`, and what it consists of:

    canonical.py         one way of writing what ONNX can say in several
    rules.py             onnxscript's rewrite rules
    affine.py, batch_norm.py, weights.py  factors and offsets become part of weights
    fusions.py, norms.py GELU and LayerNormalization out of their parts
    reshapes.py, splits.py, loops.py  shapes joined and dropped, splits of constants folded, loops made plain
    single_precision.py  float32 instead of half or double precision

Quantization that a source brings:

    absorb.py            QDQ pairs -> the quantization table; qlinear.py, hybrid.py: operators on integers
    saturation.py        what a rounding between operators in float still does
    arithmetic.py        what cannot be absorbed, as plain arithmetic
    protection.py        keeps the table true while a graph is rewritten

Dynamic sizes:

    dynamic.py           a graph that holds for every size, from preparing it at several
    merging.py           graphs at several sizes laid over each other; binding.py gives dimensions their sizes again
    sizes.py             numbers explained by the sizes of tensors; size_vectors.py, size_nodes.py compute them
    extent.py            the smallest sizes that a model runs at, and what sizes are multiples of
    freedom.py           how free a dimension stays: any size, multiples, or fixed
    border.py, shapes.py the shapes of inputs and outputs, and those that inference does not find

Operators in terms of others:

    decompose.py         replaces what a format lacks; decompositions/ has a function per operator
    contrib/             ONNX Runtime's own operators
    interpolation.py     the arithmetic of Resize

Questions and tools:

    query.py, values.py  questions about nodes and values; new constants, and one value in another's place
    modules.py           the torch module that each part of a graph came from
    shares.py, places.py outputs that are probabilities, and outputs whose last dimension counts places
    rankings.py          outputs whose rows a TopK has put into an order
    session.py           ONNX Runtime on a graph in memory
    message.py, saving.py, stored_weights.py  ONNX files and messages without a second copy of the weights
"""
