"""The prediction study: what forecasts how well diffusion trains in a latent space."""
