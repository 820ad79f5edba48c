"""Make the images that ship with the zoo: 24 photographs of 64x64 pixels and 40 handwritten digits of 8x8.

    python scripts/make_bundled_images.py [--out FOLDER]

Everything comes from files inside the wheels of scikit-image and scikit-learn (the `zoo` extra); nothing is downloaded.
The rectangles below are also what `train_zoo.py` keeps out of its training data, so the zoo's models have seen no pixel
of these images. Sources and licences: `src/theodolite/zoo/images/SOURCES.md`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

IMAGES = Path(__file__).parents[1] / "src" / "theodolite" / "zoo" / "images"
SIDE = 64
SKIMAGE_FILES = {"rocket": "rocket.jpg"}
SKLEARN_FILES = {"china": "china.jpg", "flower": "flower.jpg"}
TRAINING_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "china", "flower")
DIGITS_PER_CLASS = 4
DIGITS_HELD_OUT = 5
"""Every fifth image of the digits is held out from training."""


@dataclass(frozen=True)
class Crop:
    """A square of a photograph, resized to 64x64; `left`, `top` and `side` in pixels of the photograph."""

    photograph: str
    content: str
    left: int
    top: int
    side: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, as Pillow crops."""
        return self.left, self.top, self.left + self.side, self.top + self.side


CROPS = (
    Crop("astronaut", "face", 168, 64, 112),
    Crop("astronaut", "badge", 132, 347, 80),
    Crop("astronaut", "flag", 10, 130, 80),
    Crop("astronaut", "shuttle", 360, 120, 80),
    Crop("chelsea", "eye", 130, 70, 80),
    Crop("chelsea", "nose", 215, 195, 80),
    Crop("chelsea", "fur", 215, 8, 64),
    Crop("coffee", "spoon", 325, 225, 96),
    Crop("coffee", "rim", 180, 20, 72),
    Crop("coffee", "wood", 10, 180, 64),
    Crop("rocket", "sky", 230, 30, 64),
    Crop("rocket", "nose", 292, 120, 64),
    Crop("rocket", "lattice", 25, 150, 64),
    Crop("china", "roof", 150, 50, 96),
    Crop("china", "facade", 130, 190, 64),
    Crop("china", "lake", 400, 190, 64),
    Crop("china", "leaves", 450, 330, 64),
    Crop("flower", "heart", 265, 180, 80),
    Crop("flower", "petals", 200, 110, 72),
    Crop("flower", "bokeh", 60, 70, 64),
    Crop("camera", "head", 165, 70, 104),
    Crop("text", "handwriting", 10, 30, 64),
    Crop("brick", "wall", 100, 100, 128),
    Crop("grass", "lawn", 200, 200, 128),
)


def photograph(name: str) -> Image.Image:
    """A photograph of the wheels by name, in RGB."""
    import skimage
    import sklearn.datasets

    if name in SKLEARN_FILES:
        path = Path(sklearn.datasets.__file__).parent / "images" / SKLEARN_FILES[name]
    else:
        path = Path(skimage.__file__).parent / "data" / SKIMAGE_FILES.get(name, f"{name}.png")
    return Image.open(path).convert("RGB")


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The digits as grey levels `(n, 8, 8)` from 0 to 255, their labels, and which of them are held out."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return grey, bunch.target, np.arange(len(grey)) % DIGITS_HELD_OUT == 0


def write_photographs(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for crop in CROPS:
        # crop first: a resize with `box=` may look at pixels outside the box, which training has seen
        square = photograph(crop.photograph).crop(crop.box).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        # without the colour profile, Adobe RGB of one of them: the zoo was trained on pixels as they are stored
        square.save(folder / f"{crop.photograph}-{crop.content}.png", optimize=True, icc_profile=None)


def write_digits(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    grey, labels, held_out = digits()
    for label in range(10):
        for place, index in enumerate(np.flatnonzero(held_out & (labels == label))[:DIGITS_PER_CLASS]):
            Image.fromarray(grey[index]).save(folder / f"digit-{label}-{place}.png", optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder to write photos/ and digits/ into")
    folder = parser.parse_args().out
    write_photographs(folder / "photos")
    write_digits(folder / "digits")
    files = sorted(folder.rglob("*.png"))
    print(f"{len(files)} images, {sum(file.stat().st_size for file in files) / 1024:.0f} KiB in {folder}")


if __name__ == "__main__":
    main()
