"""Small reference models that are trained in a latent space at a fixed budget, and how good their samples get."""
