"""`diffusability`: one autoencoder against the images it encodes."""
