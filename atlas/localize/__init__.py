"""Where in the picture the class is, found without ever seeing a box, and what a box without a network gets."""
