"""Passes over the float graph, and the questions that everything else asks of it."""
