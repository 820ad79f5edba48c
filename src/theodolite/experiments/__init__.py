"""One folder an experiment: what is measured, and how it is shown. Its name is the verb's and the function's."""

SUMMARIES: dict[str, str] = {
    "survey": "Measure an autoencoder on a folder of images.",
    "detect": "Score images of one folder against those of another.",
    "hotspots": "Find where a decoder bends most, and off the detail.",
    "path": "Go from one latent to another, and measure the way.",
}
"""The experiments of this package, in the order of help, without importing one."""
