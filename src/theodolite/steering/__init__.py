"""Using the geometry: losses that shape a latent space while it is trained."""

from theodolite.steering.losses import encoder_curvature_loss, fir_loss, tangential_loss
from theodolite.steering.tangents import tangents

__all__ = ["encoder_curvature_loss", "fir_loss", "tangential_loss", "tangents"]
