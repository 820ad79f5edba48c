"""`survey`: the local geometry of a decoder at the latent of every image of a folder."""
