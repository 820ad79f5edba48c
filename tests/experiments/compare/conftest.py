"""Pairs of models by name, photographs, finished comparisons, and the command line."""

from __future__ import annotations

import importlib
import pathlib
import sys

import pytest
from click.testing import CliRunner

from theodolite.cli.main import main
from theodolite.runs.functions import function_of

HERE = pathlib.Path(__file__).parent
QUICK = {"budget": "quick", "size": 16, "descriptors": ["local_scaling", "leading_singular_value"]}


@pytest.fixture(scope="session")
def pairs():
    """The module of models that differ in a known way; commands name them `pairs:plain`."""
    sys.path.insert(0, str(HERE))
    return importlib.import_module("pairs")


@pytest.fixture(scope="session")
def photos(pairs, tmp_path_factory):
    """One crop of each of five photographs."""
    return pairs.photographs(tmp_path_factory.mktemp("compare") / "photos")


@pytest.fixture(scope="session")
def compare(pairs, photos):
    """Compare two models by name."""

    def call(first, second, out, data=photos, **options):
        models = [getattr(pairs, name)() for name in (first, second)]
        return function_of("compare")(*models, out=out, data=data, **{**QUICK, **options})

    return call


@pytest.fixture(scope="session")
def compared(compare, tmp_path_factory):
    """Finished comparisons with `plain`, each made once."""
    runs = {}

    def call(second):
        if second not in runs:
            runs[second] = compare("plain", second, tmp_path_factory.mktemp(second) / "run")
        return runs[second]

    return call


@pytest.fixture(scope="session")
def surveys(pairs, photos, tmp_path_factory):
    """Surveys of two models of the same images, and one of other images."""
    folder = tmp_path_factory.mktemp("surveys")
    options = {"budget": "quick", "size": 16, "descriptors": ["local_scaling"]}
    for name in ("plain", "finetuned"):
        function_of("survey")(getattr(pairs, name)(), data=photos, out=folder / name, **options)
    others = pairs.photographs(folder / "images")
    for file in others.iterdir():
        file.rename(file.with_name(f"other-{file.name}"))
    function_of("survey")(pairs.plain(), data=others, out=folder / "elsewhere", **options)
    return folder


@pytest.fixture
def invoke(pairs):
    """Run the command line in this process."""

    def call(*words):
        return CliRunner().invoke(main, [str(word) for word in words])

    return call
