"""A folder of tiny images, the module of tiny models where an experiment finds it, and the harness of kills."""

from __future__ import annotations

import importlib
import pathlib
import sys

import pytest

TESTS = pathlib.Path(__file__).parents[1]
HERE = TESTS / "surveys"
sys.path[:0] = [str(TESTS), str(TESTS / "golden")]


@pytest.fixture
def tiny(monkeypatch):
    """The module `tiny`, importable under that name."""
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module("tiny")


@pytest.fixture
def photos(tiny, tmp_path):
    """Four images of 16x16 pixels."""
    return tiny.write_images(tmp_path / "photos")
