"""Which neurons feed a neuron: its response taken apart by the maps that its layer reads, and the edges put to the test."""
