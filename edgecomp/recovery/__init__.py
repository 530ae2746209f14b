"""What brings back accuracy that integers cost, without training: steps on the graph, one file each."""
