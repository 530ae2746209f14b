"""What runs on the board: the standard library, numpy and a runtime; never edgecomp itself."""
