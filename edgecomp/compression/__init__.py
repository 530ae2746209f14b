"""Compression during training: nn.Module -> nn.Module, before there is a graph."""
