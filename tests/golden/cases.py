"""The golden commands: one tiny run of every verb, and mistakes that every verb refuses before it works.

Words in braces stand for folders that `prepare` makes: `{photos}`, the images that ship; `{odd}`, four coloured
noises; `{empty}`, a folder without images; `{survey}`, a finished run of another kind (of another
configuration, for `survey`); `{reward}`, the file of a fitted reward; `{nowhere}`, a path that does not exist.
"""

from __future__ import annotations

import pathlib

import numpy as np
import torch
from click.testing import CliRunner
from PIL import Image

from theodolite.cli.main import main
from theodolite.steering import fit_reward
from theodolite.zoo import bundled_images

__all__ = ["REFUSALS", "RUNS", "prepare"]

_ANCHORS = "--anchor seed:1 --anchor seed:2 --anchor seed:3"

RUNS = {
    "survey": "survey zoo:patches-kl --data {photos} --limit 2 --size 16 --budget quick",
    "rank": "rank zoo:patches-plain zoo:patches-smooth --data {photos} --limit 6 --size 16 --budget quick",
    "diffusability": "diffusability zoo:patches-kl --data {photos} --limit 6 --size 16 --budget quick",
    "floor": "floor zoo:patches-kl --data {photos} --limit 6 --size 16 --budget quick --loss eps --time cosine",
    "compare": "compare zoo:patches-plain zoo:patches-kl --data {photos} --limit 3 --size 16 --descriptors"
    " local_scaling,leading_singular_value",
    "detect": "detect zoo:patches-kl --reference {photos} --test {odd} --limit 3 --size 16",
    "detect-denoiser": "detect zoo:coloured-pixels --reference {photos} --test {odd} --limit 3 --sigma 0.4,1.6"
    " --scores local_scaling,score_norm,pixel_energy",
    "decouple": "decouple zoo:coloured-latent --pairs 4 --steps 1 --neighbours 2 --dimension 3"
    " --conditions 3-red/3-yellow",
    "sample": "sample zoo:patches-kl --data {photos} --latents seed:0..8 --limit 8 --size 16 --worst 0.34"
    " --descriptors local_scaling,local_complexity --judge theodolite.zoo:digit_classifier",
    "hotspots": "hotspots zoo:patches-kl --data {photos} --limit 4 --size 16 --dimension 3 --neighbours 1",
    "traverse-plane": f"traverse plane zoo:digits {_ANCHORS} --grid 2",
    "traverse-denoising": "traverse denoising zoo:coloured-latent --guidance 0,2 --steps 1 --seeds 2 --output x0",
    "traverse-corruptions": "traverse corruptions zoo:patches-kl --data {photos} --corruption jpeg"
    " --corruption contrast --limit 2 --size 16",
    "phases": "phases zoo:ising --side 3 --grid 7 --samples 40 --bundle 6 --zoom 4",
    "path": "path zoo:patches-kl {photos}/astronaut-face.png {photos}/chelsea-eye.png --steps 4 --size 16",
    "guide": "guide zoo:coloured-latent --rho -0.3,0.3 --samples 8 --measured 3 --steps 2 --reward {reward}"
    " --control random",
}

REFUSALS = {
    "survey": (
        "zoo:patches-kl --data {photos} --budget huge",
        "zoo:patches-kl --data {photos} --descriptors local_scalin",
        "zoo:patches-kl --data {nowhere}",
        "zoo:patches-kl --data {empty}",
        "zoo:patches-kl --data {photos} --size 18",
        "zoo:nothing --data {photos}",
        "zoo:patches-kl",
        "zoo:patches-kl --data {photos} --out {survey}",
    ),
    "rank": (
        "zoo:patches-kl --data {photos}",
        "zoo:patches-kl zoo:patches-kl --data {photos}",
        "zoo:patches-kl zoo:nothing --data {photos}",
        "zoo:patches-kl zoo:patches-plain --data {photos} --budget huge",
        "zoo:patches-kl zoo:patches-plain --data {nowhere}",
        "zoo:patches-kl zoo:patches-plain --data {photos} --group (",
        "zoo:patches-kl zoo:patches-plain",
        "zoo:patches-kl zoo:patches-plain --data {photos} --out {survey}",
    ),
    "floor": (
        "zoo:nothing --data {photos}",
        "zoo:patches-kl --data {photos} --loss huge",
        "zoo:patches-kl --data {photos} --time never",
        "zoo:patches-kl --data {photos} --losses {nowhere}",
        "zoo:patches-kl --data {photos} --out {survey}",
    ),
    "diffusability": (
        "zoo:nothing --data {photos}",
        "zoo:patches-kl --data {empty}",
        "zoo:patches-kl --data {photos} --limit 1",
        "zoo:patches-kl --data {photos} --budget huge",
        "zoo:patches-kl --data {photos} --out {survey}",
    ),
    "compare": (
        "zoo:patches-kl zoo:patches-plain",
        "zoo:patches-kl {survey}",
        "{survey} {survey}",
        "zoo:patches-kl zoo:nothing --data {photos}",
        "zoo:patches-kl zoo:patches-plain --data {nowhere}",
        "zoo:patches-kl zoo:patches-plain --data {photos} --budget huge",
        "zoo:patches-kl zoo:patches-plain --data {photos} --out {survey}",
    ),
    "detect": (
        "zoo:patches-kl --reference {photos} --test {odd} --scores nothing",
        "zoo:patches-kl --reference {photos} --test {odd} --score nothing",
        "zoo:patches-kl --reference {photos} --test {odd} --level 1.5",
        "zoo:patches-kl --reference {photos} --test {odd} --labels {nowhere}",
        "zoo:patches-kl --reference {photos} --test {odd} --sigma 0.1,0.4",
        "zoo:patches-kl --reference {photos} --test {photos}",
        "zoo:patches-kl --reference {nowhere} --test {odd}",
        "zoo:coloured-pixels --reference {photos} --test {odd} --sigma 0.1",
        "zoo:patches-kl --reference {photos} --test {odd} --out {survey}",
    ),
    "decouple": (
        "zoo:patches-kl",
        "zoo:coloured-latent --conditions 3-mauve/3-red",
        "zoo:coloured-latent --method nothing",
        "zoo:coloured-latent --pairs 1",
        "zoo:coloured-latent --out {survey}",
    ),
    "sample": (
        "zoo:patches-kl --data {nowhere}",
        "zoo:patches-kl --data {photos} --latents seed:0",
        "zoo:patches-kl --data {photos} --judge theodolite.zoo:nothing --size 16",
        "zoo:patches-kl --data {photos} --worst 1",
        "zoo:patches-kl --data {photos}",
        "zoo:patches-kl --data {photos} --size 16 --condition 3",
        "zoo:patches-kl --data {photos} --size 16 --map sampler",
        "zoo:patches-kl --data {photos} --size 16 --out {survey}",
    ),
    "hotspots": (
        "zoo:patches-kl --data {nowhere}",
        "zoo:patches-kl --data {photos} --reference {empty}",
        "zoo:patches-kl --data {photos} --grid cells",
        "zoo:nothing --data {photos}",
        "zoo:patches-kl --data {photos} --out {survey}",
    ),
    "traverse plane": (
        "zoo:digits --anchor seed:1",
        f"zoo:digits {_ANCHORS} --grid 1",
        f"zoo:digits {_ANCHORS} --budget huge",
        f"zoo:digits {_ANCHORS} --out {{survey}}",
    ),
    "traverse denoising": (
        "zoo:digits",
        "zoo:coloured-latent --output x0,x1",
        "zoo:coloured-latent --conditions 3-mauve/3-red",
        "zoo:coloured-latent --seeds 1",
        "zoo:coloured-latent --out {survey}",
    ),
    "traverse corruptions": (
        "zoo:patches-kl --data {nowhere}",
        "zoo:patches-kl --data {photos} --corruption fog",
        "zoo:patches-kl --data {empty}",
        "zoo:nothing --data {photos}",
        "zoo:patches-kl --data {photos} --size 16 --out {survey}",
    ),
    "phases": (
        "zoo:patches-kl",
        "zoo:ising --box 0,1",
        "zoo:ising --between 0.1,0,9,0",
        "zoo:ising --grid 6",
        "zoo:nothing",
        "zoo:ising --out {survey}",
    ),
    "path": (
        "zoo:digits seed:1 seed:1",
        "zoo:digits seed:1 seed:2 --via nowhere",
        "zoo:digits seed:1 seed:2 --steps 3",
        "zoo:patches-kl {nowhere} {photos}/chelsea-eye.png",
        "zoo:nothing seed:1 seed:2",
        "zoo:digits seed:1 seed:2 --out {survey}",
    ),
    "guide": (
        "zoo:coloured-latent --rho 0",
        "zoo:coloured-latent --control colour",
        "zoo:coloured-latent --measured 1",
        "zoo:coloured-latent --reward {nowhere}",
        "zoo:coloured-latent --norm l2",
        "zoo:digits",
        "zoo:coloured-latent --out {survey}",
    ),
}


def prepare(folder: pathlib.Path, words: str) -> dict[str, str]:
    """Make the folders that `words` name in braces; every call draws the same images and fits the same reward."""
    names = ("odd", "empty", "survey", "nowhere", "reward")
    folders = {name: folder / name for name in names}
    for name, make in (("odd", _odd), ("empty", pathlib.Path.mkdir), ("survey", _survey), ("reward", _reward)):
        if f"{{{name}}}" in words:
            make(folders[name])
    return {"photos": str(bundled_images()), **{name: str(path) for name, path in folders.items()}}


def _odd(folder: pathlib.Path) -> None:
    folder.mkdir()
    for seed in range(4):
        noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((32, 32), Image.Resampling.NEAREST).save(folder / f"odd-{seed}.png")


def _survey(folder: pathlib.Path) -> None:
    options = ["--limit", "1", "--size", "16", "--descriptors", "local_rank", "--budget", "quick", "--no-report"]
    command = ["survey", "zoo:patches-kl", "--data", str(bundled_images()), "--out", str(folder), *options]
    result = CliRunner().invoke(main, command, prog_name="theodolite")
    assert result.exit_code == 0, result.output


def _reward(file: pathlib.Path) -> None:
    """A reward of the mean entry of a latent: to fit one of local scaling takes ten seconds."""
    z = torch.randn(60, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    fit_reward(z, z.mean((1, 2, 3)), steps=60, width=8, depth=1, batch=32, generator=0).save(file)
