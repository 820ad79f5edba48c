"""The tiny models and images of the surveys' tests, and the command line in this process."""

from __future__ import annotations

import importlib
import pathlib

import pytest
from click.testing import CliRunner

from theodolite.cli.main import main

HERE = pathlib.Path(__file__).parents[2] / "surveys"


@pytest.fixture
def tiny(monkeypatch):
    """The module `tiny`, importable under that name."""
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module("tiny")


@pytest.fixture
def photos(tiny, tmp_path):
    """Four images of 16x16 pixels."""
    return tiny.write_images(tmp_path / "photos")


@pytest.fixture
def invoke():
    """Run the command line in this process."""

    def call(*words):
        return CliRunner().invoke(main, [str(word) for word in words])

    return call
