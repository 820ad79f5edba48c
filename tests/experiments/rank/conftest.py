"""Linear autoencoders of a known order with their images as files, tiny models by name, and the command line."""

from __future__ import annotations

import importlib
import pathlib
import sys

import pytest
from PIL import Image

from theodolite.runs.functions import function_of

TESTS = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="session")
def linear():
    """The module of linear autoencoders."""
    sys.path.insert(0, str(TESTS / "diffusability"))
    return importlib.import_module("linear")


def photographs(linear, path, sources, crops):
    """Crops of photographs as files, so many of each."""
    path.mkdir()
    for place, image in enumerate(linear.images(sources, crops)):
        pixels = ((image[0] + 1) * 127.5).round().byte().numpy()
        Image.fromarray(pixels).save(path / f"photo{place // crops:02d}_0000_{place % crops * 8:04d}.png")
    return path


@pytest.fixture(scope="session")
def folder(linear, tmp_path_factory):
    """Four crops of each of six sources, 8x8 pixels."""
    return photographs(linear, tmp_path_factory.mktemp("images") / "photos", 6, 4)


@pytest.fixture(scope="session")
def many(linear, tmp_path_factory):
    """Ten crops of each of twelve sources: enough for a batch beside those that are held out of a training."""
    return photographs(linear, tmp_path_factory.mktemp("many") / "photos", 12, 10)


@pytest.fixture(scope="session")
def rank(linear, folder):
    """Rank linear autoencoders by name."""

    def call(*names, out, data=folder, **options):
        models = [getattr(linear, name)() for name in names]
        return function_of("rank")(models, data, out, **{"budget": "quick", **options})

    return call
