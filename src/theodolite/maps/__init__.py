"""What is differentiated: latent maps, the autoencoders, denoisers and samplers behind them, and ways to load one."""

from theodolite.maps.autoencoders import Autoencoder
from theodolite.maps.chain import Chain
from theodolite.maps.denoiser import Denoiser
from theodolite.maps.denoisers import denoiser_map
from theodolite.maps.families import ModelFamily
from theodolite.maps.latent_map import LatentMap
from theodolite.maps.loading import load
from theodolite.maps.normalisation import Normalisation
from theodolite.maps.samplers import karras_levels, sampler_map

__all__ = [
    "Autoencoder",
    "Chain",
    "Denoiser",
    "LatentMap",
    "ModelFamily",
    "Normalisation",
    "denoiser_map",
    "karras_levels",
    "load",
    "sampler_map",
]
