"""Which layers of a quantized model cause the error of its outputs, why, and what mends it."""
