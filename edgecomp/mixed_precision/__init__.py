"""Some layers in float, the rest in integers: which ones, for a promise about accuracy."""
