"""`compare`: two autoencoders on the same images, or two runs of one kind: what differs, and how surely."""
