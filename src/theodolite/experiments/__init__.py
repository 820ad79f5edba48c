"""One folder an experiment: what is measured, and how it is shown. Its name is the verb's and the function's."""

SUMMARIES: dict[str, str] = {
    "survey": "Measure an autoencoder on a folder of images.",
    "rank": "Rank autoencoders by a forecast of how well diffusion trains in their latents.",
    "diffusability": "The same forecast of one model, and how its latents give way to noise.",
    "floor": "The training loss that no network can beat in a model's latents.",
    "detect": "Score images of one folder, or latents, against a reference.",
    "sample": "Draw samples, judge them, and ask whether geometry tells the bad ones.",
    "hotspots": "Find where a map bends most, and off the detail.",
    "compare": "Tell what differs between two models, or between two runs.",
    "decouple": "Test the decoupling claims on a conditional sampler.",
    "traverse": "Follow psi, nu and delta over a plane, along denoising, over corruptions.",
    "phases": "Map the phases of a family of samples over two parameters.",
    "path": "Go from one latent to another, and measure the way.",
    "guide": "Guide a diffusion model by its local scaling, beside controls.",
}
"""The experiments of this package, in the order of help, without importing one."""
