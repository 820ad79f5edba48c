"""What users bring: images of folders with their sources and labels, latents and conditions that they name."""

from theodolite.data.images import ImageFile, ImageSet, find_images, load_image, load_images, sourced_images
from theodolite.data.sources import sources_of

__all__ = ["ImageFile", "ImageSet", "find_images", "load_image", "load_images", "sourced_images", "sources_of"]
