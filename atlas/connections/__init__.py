"""Which neurons feed a neuron: its response taken apart by the maps its layer reads, and the edges put to the test."""
