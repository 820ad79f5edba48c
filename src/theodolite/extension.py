"""`register`: descriptors, predictors, experiments and model families of one's own."""

from __future__ import annotations

from typing import TypeVar

from theodolite.errors import InputError

__all__ = ["register"]

_T = TypeVar("_T")


def register(thing: _T) -> _T:
    """Make a descriptor, a predictor, an experiment or a model family of one's own known to everything here.

    A descriptor then appears in `survey`, its help, tables and reports; an experiment gets its verb, run folders, page
    and `--json`; a predictor is measured by `rank`; a model family opens what it matches wherever a model is named.
    A package does the same for all its users by entry points: see `theodolite.registry.GROUPS` and ``examples/plugin``.

    Args:
        thing: a `theodolite.descriptors.Descriptor`, a `theodolite.diffusability.Predictor`, a subclass of
            `theodolite.runs.Experiment`, or a `theodolite.maps.ModelFamily`.

    Returns:
        The thing, so that a class can be decorated.

    Raises:
        InputError: it is none of these, or its name is taken by one of this package.

    Example:
        >>> from theodolite.runs import Experiment
        >>> register("no experiment")
        Traceback (most recent call last):
        theodolite.errors.InputError: a Descriptor, a Predictor, an Experiment or a ModelFamily expected, got str
    """
    if isinstance(thing, type):
        from theodolite.runs import Experiment, register_experiment

        if issubclass(thing, Experiment):
            register_experiment(thing)
            return thing
    from theodolite.descriptors.descriptor import Descriptor
    from theodolite.descriptors.registry import REGISTRY
    from theodolite.diffusability.predictors import PREDICTORS, Predictor
    from theodolite.maps.families import FAMILIES, ModelFamily

    if isinstance(thing, Descriptor):
        REGISTRY.add(thing.name, thing)
    elif isinstance(thing, Predictor):
        PREDICTORS.add(thing.name, thing)
    elif isinstance(thing, ModelFamily):
        FAMILIES.add(thing.name, thing)
    else:
        what = type(thing).__name__
        raise InputError(f"a Descriptor, a Predictor, an Experiment or a ModelFamily expected, got {what}")
    return thing
