"""What the codes of a build's images give: index, map, neuron vectors, similar neurons, near misses, properties."""
