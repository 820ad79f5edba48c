"""`detect --train`: which training images a diffusion model knows by heart, and where."""
