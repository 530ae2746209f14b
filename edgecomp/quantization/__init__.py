"""Quantization after training: CompressedModel -> CompressedModel, on the graph."""
