"""What is differentiated: latent maps, the autoencoders they come from, and the ways to load one."""

from theodolite.maps.autoencoders import Autoencoder
from theodolite.maps.latent_map import LatentMap
from theodolite.maps.loading import load
from theodolite.maps.normalisation import Normalisation

__all__ = ["Autoencoder", "LatentMap", "Normalisation", "load"]
