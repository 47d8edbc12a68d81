"""One script a claim, each against its peer in one run; each prints a line with the ratio and the claim."""
