"""The experiment `tally`, known to the registry while a test runs."""

from __future__ import annotations

import hashlib
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from tally import Tally

from theodolite.runs import registry
from theodolite.runs.conduct import conduct


@pytest.fixture
def tally(monkeypatch):
    """The kind, with nothing planted in it."""
    monkeypatch.setitem(registry._REGISTERED, "tally", Tally)
    for name, value in (("measured", []), ("broken", {}), ("doubt", False), ("length", "")):
        monkeypatch.setattr(Tally, name, value)
    return Tally


@pytest.fixture
def tallied(tally, tmp_path):
    """Conduct one: the folder below the temporary one, then settings."""

    def call(out="run", **given):
        return conduct(tally, ["abacus"], tmp_path / out, **given)

    return call


@pytest.fixture
def contents():
    """Every file of a folder by its hash."""

    def of(folder):
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return of
