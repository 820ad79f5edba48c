"""The plane through three latents, under the name by which traverses import it."""

from theodolite.data.plane import Plane

__all__ = ["Plane"]
