"""Words for neurons: formulas over concepts, searched on one half of the response sample and reported on the other."""
