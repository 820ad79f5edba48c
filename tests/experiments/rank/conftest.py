"""Linear autoencoders of a known order with their images as files, tiny models by name, and the command line."""

from __future__ import annotations

import importlib
import os
import pathlib
import subprocess
import sys

import pytest
from click.testing import CliRunner
from PIL import Image

import theodolite
from theodolite.cli.main import main
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
def rank(linear, folder):
    """Rank linear autoencoders by name."""

    def call(*names, out, data=folder, **options):
        models = [getattr(linear, name)() for name in names]
        return function_of("rank")(models, data, out, **{"budget": "quick", **options})

    return call


@pytest.fixture
def tiny(monkeypatch):
    """The module `tiny`, importable under that name, here and in processes started from here."""
    source = pathlib.Path(theodolite.__file__).parents[1]
    before = os.environ.get("PYTHONPATH", "")
    surveys = TESTS / "surveys"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(surveys), str(source), before])))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(surveys)
    return importlib.import_module("tiny")


@pytest.fixture
def invoke():
    """Run the command line in this process."""

    def call(*words):
        return CliRunner().invoke(main, [str(word) for word in words])

    return call


@pytest.fixture
def start():
    """Start the command line in a process of its own, which ends with the test."""
    processes = []

    def call(*words):
        command = [sys.executable, "-m", "theodolite", *(str(word) for word in words)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield call
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
