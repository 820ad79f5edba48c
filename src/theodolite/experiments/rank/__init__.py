"""`rank`: autoencoders on the same images, in the order of their gap to these, with how sure that order is."""
