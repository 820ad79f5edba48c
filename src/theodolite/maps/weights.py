"""Weights by name: put into a model under whatever prefix a training left before them."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from theodolite.errors import InputError

__all__ = ["fill", "quiet", "stored_tensors"]

_COMPILED = re.compile(r"(^|\.)_orig_mod\.")
"""What `torch.compile` puts before the names of the parts of a module that it wraps, at any depth."""

_SAMPLED = 8
"""Missing weights by which prefixes are looked for."""


def fill(
    model: nn.Module,
    missing: Sequence[str],
    unused: Sequence[str],
    tensors: Callable[[], Mapping[str, Tensor]],
    name: str,
) -> list[str]:
    """Put the weights that are missing into a model from those that are unused, where a prefix alone tells them apart.

    Trainings leave prefixes before the names of weights: ``_orig_mod.`` of `torch.compile`, ``module.`` of data
    parallelism, ``first_stage_model.`` of a latent diffusion model, ``vae.``.

    Args:
        model: gets the weights.
        missing: names that the model has and the file lacks.
        unused: names that the file has and the model lacks.
        tensors: gives what the file holds, by name; called where it is needed.
        name: of the file, for errors.

    Returns:
        Notes: what was stripped, and what is not used.

    Raises:
        InputError: weights are missing under any prefix, or have other shapes.
    """
    names, notes = _renamed(missing, unused), []
    if absent := [key for key in missing if key not in names]:
        own = type(model).__name__
        other = f"; it has {unused[0]!r}" if unused else ""
        raise InputError(f"{name} lacks {len(absent)} of the weights of {own}, the first {absent[0]!r}{other}")
    if names:
        _copy(model, names, tensors(), name)
    if prefixes := sorted({_prefix(old, key) for key, old in names.items()} - {""}):
        notes.append(f"names of weights read without their prefix {' and '.join(repr(prefix) for prefix in prefixes)}")
    if left := sorted(set(unused) - set(names.values())):
        notes.append(f"{len(left)} tensors of the file are not used, the first {left[0]!r}")
    return notes


def _renamed(missing: Sequence[str], unused: Sequence[str]) -> dict[str, str]:
    """The name in the file of each missing weight, by the prefix that finds most of them; those alone that it finds."""
    plain = {_COMPILED.sub(r"\1", key): key for key in unused}
    some = missing[:_SAMPLED]  # one of them may be missing under every prefix
    prefixes = {key.removesuffix(name) for name in some for key in plain if key.endswith(name)}
    tried = [
        {key: plain[prefix + key] for key in missing if prefix + key in plain}
        for prefix in sorted(prefixes, key=len)
        if not prefix or prefix.endswith(".")
    ]
    return max(tried, key=len, default={})


def _prefix(old: str, key: str) -> str:
    """What of a name in the file is not in the model's own."""
    return "_orig_mod." if _COMPILED.sub(r"\1", old) == key != old else old.removesuffix(key)


@torch.no_grad()
def _copy(model: nn.Module, names: Mapping[str, str], tensors: Mapping[str, Tensor], name: str) -> None:
    own = model.state_dict()
    for key, old in names.items():
        if own[key].shape != tensors[old].shape:
            raise InputError(
                f"{name} expected to hold {key!r} of shape {tuple(own[key].shape)}, as its config.json says, got "
                f"{tuple(tensors[old].shape)}"
            )
        own[key].copy_(tensors[old])


def stored_tensors(files: Sequence[Path]) -> dict[str, Tensor]:
    """The tensors of some safetensors files, by name."""
    from safetensors.torch import load_file

    return {key: tensor for file in files for key, tensor in load_file(file).items()}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what diffusers says while it loads (it logs defaults as warnings), and restore its verbosity."""
    from diffusers.utils import logging as diffusers_logging

    before = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        diffusers_logging.set_verbosity(before)
