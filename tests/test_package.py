"""The public surface: what `theodolite` offers, how little importing it costs, and what no source may hold."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

import theodolite

PACKAGE = pathlib.Path(theodolite.__file__).parent


def test_the_public_names_are_those_of_the_table():
    assert set(theodolite.__all__) == set(theodolite._HOME_OF)
    assert theodolite.__all__ == sorted(theodolite.__all__)
    assert set(theodolite.__all__) <= set(dir(theodolite))


@pytest.mark.parametrize("name", [*theodolite.__all__, "zoo", "spectrum", "descriptors", "maps"])
def test_every_name_resolves(name):
    assert getattr(theodolite, name) is not None


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'telescope'"):
        _ = theodolite.telescope
    assert not hasattr(theodolite, "telescope")


@pytest.mark.parametrize("module", ["theodolite", "theodolite.errors", "theodolite.cli.main", "theodolite.zoo"])
def test_importing_costs_no_tensor_library(module):
    heavy = ("torch", "diffusers", "plotly", "pyarrow", "numpy", "PIL")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_source_holds_a_path_of_a_machine():
    forbidden = re.compile(r"/(?:work|root|home|tmp|Users)/|[A-Z]:\\\\")
    root = PACKAGE.parents[1]
    files = [file for folder in ("src", "scripts", "examples", "benchmarks") for file in (root / folder).rglob("*.py")]
    assert len(files) > 40
    found = [file.name for file in files if forbidden.search(file.read_text(encoding="utf-8"))]
    assert found == []


def test_the_package_is_typed_and_versioned():
    assert (PACKAGE / "py.typed").is_file()
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.\w+)?", theodolite.__version__)
