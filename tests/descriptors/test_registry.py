"""The registry: what each descriptor promises, and that a file adds another."""

from __future__ import annotations

import inspect
import pkgutil
import re
import sys
import types

import pytest
import torch

import theodolite
from theodolite import LatentMap
from theodolite.descriptors import REGISTRY, Descriptor, Quantity, registry
from theodolite.descriptors.arguments import with_shared_arguments
from theodolite.estimates import Estimate


def test_names_are_those_of_the_functions_and_of_the_package():
    for name, descriptor in REGISTRY.items():
        assert descriptor.name == name == descriptor.quantities[0].name
        assert getattr(theodolite, name) is descriptor.function


def test_every_quantity_is_documented_once():
    quantities = [quantity for descriptor in REGISTRY.values() for quantity in descriptor.quantities]
    names = [quantity.name for quantity in quantities]
    assert len(names) == len(set(names))
    for quantity in quantities:
        assert quantity.label
        assert quantity.formula
        assert quantity.meaning.endswith(".")
        assert "arXiv" in quantity.source or "derived here" in quantity.source


def test_all_signatures_and_docstrings_agree():
    for descriptor in REGISTRY.values():
        parameters = inspect.signature(descriptor.function).parameters
        assert list(parameters)[:2] == ["map", "latents"]
        assert {"generator", "mode", "effort", "dense", "chart"} <= parameters.keys()
        text = inspect.getdoc(descriptor.function)
        assert text is not None
        for section in ("Args:", "Returns:", "Raises:", "Cost"):
            assert section in text, (descriptor.name, section)
        assert "arXiv" in text or "Derived here" in text
        for quantity in descriptor.quantities[1:]:
            assert f"`{quantity.name}`" in text, (descriptor.name, quantity.name)


def largest_entry(map, latents, *, generator=None, effort=None, chart=None):
    """A descriptor of somebody else's."""
    value = map(latents).flatten(1).amax(1).double()
    return Estimate(value, torch.zeros_like(value), passes=1, n=1)


def test_another_descriptor_is_one_file(monkeypatch):
    file = types.ModuleType("theodolite.descriptors.largest")
    quantity = Quantity("largest_entry", "Largest", "output", "max_i x_i", "derived here", "The largest entry.")
    file.DESCRIPTOR = Descriptor(largest_entry, (quantity,))
    monkeypatch.setitem(sys.modules, file.__name__, file)
    of_folder = pkgutil.iter_modules
    largest = pkgutil.ModuleInfo(None, "largest", False)
    monkeypatch.setattr(pkgutil, "iter_modules", lambda *paths: [largest, *of_folder(*paths)])
    found = registry._of_this_folder.__wrapped__()
    assert list(found) == [*REGISTRY, "largest_entry"]
    estimate = found["largest_entry"].function(LatentMap(lambda z: z, (3,)), torch.tensor([[1.0, 5.0, 2.0]]))
    assert estimate.named("largest_entry")["largest_entry"].value.item() == 5


@pytest.mark.parametrize("name", REGISTRY)
def test_the_help_of_a_descriptor_explains_every_argument(name):
    function = REGISTRY[name].function
    documented = re.findall(r"^    (\w+): ", inspect.getdoc(function), re.MULTILINE)
    assert set(inspect.signature(function).parameters) <= set(documented)
    assert "{shared}" not in function.__doc__


def test_a_docstring_without_room_for_the_shared_arguments_is_refused():
    def descriptor():
        """Measure nothing."""

    with pytest.raises(ValueError, match="shared"):
        with_shared_arguments(descriptor)
