"""What pages of a neuron, image, class, layer or atlas add of a table or a part: a file a part, a row in SECTIONS."""
