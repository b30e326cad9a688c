"""A sweep on a Ray cluster: the same plan, whose chunks run elsewhere."""
