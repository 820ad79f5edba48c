"""A folder of tiny images, and the module of tiny models where an experiment finds it."""

from __future__ import annotations

import importlib
import pathlib

import pytest

HERE = pathlib.Path(__file__).parents[1] / "surveys"


@pytest.fixture
def tiny(monkeypatch):
    """The module `tiny`, importable under that name."""
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module("tiny")


@pytest.fixture
def photos(tiny, tmp_path):
    """Four images of 16x16 pixels."""
    return tiny.write_images(tmp_path / "photos")
