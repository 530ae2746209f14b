"""Trained PyTorch and ONNX models onto phones and ARM boards: compressed, converted, proven and measured."""
