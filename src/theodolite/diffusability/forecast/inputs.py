"""What a forecast is made from: predictors of an autoencoder that cost seconds, and what the images are like."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.diffusability.predictors import PREDICTORS, Encoded
from theodolite.diffusability.predictors.decoder_geometry import whole_rank
from theodolite.errors import in_one_line
from theodolite.estimates import Estimate

__all__ = ["INPUTS", "Evidence", "ImageKind", "measured_inputs"]

INPUTS = ("rfd_share", "nu", "lds", "local_predictability")
"""The predictors that forecasts use."""


@dataclass(frozen=True)
class ImageKind:
    """What is known of the images that inputs were measured on.

    Attributes:
        shape: `(channels, height, width)`.
        mean: of all pixels, in [-1, 1].
        std: of all pixels.
        judged: whether `rfd_share` is in the features that samples will be judged in; otherwise it is in random
            convolutions, and what it says of those features is known from the study alone.
    """

    shape: tuple[int, ...]
    mean: float
    std: float
    judged: bool = False

    @classmethod
    def of(cls, images: Tensor, *, judged: bool = False) -> ImageKind:
        """Of images `(n, channels, height, width)` in [-1, 1]."""
        return cls(tuple(images.shape[1:]), float(images.double().mean()), float(images.double().std()), judged)


@dataclass(frozen=True)
class Evidence:
    """The inputs of one autoencoder.

    Attributes:
        name: what it is called.
        shape: of a latent.
        inputs: by name, each of one entry; see `measured_inputs`.
    """

    name: str
    shape: tuple[int, ...]
    inputs: Mapping[str, Estimate]

    @property
    def numbers(self) -> dict[str, float]:
        """Values by name, `log_m` among them; NaN where there is none."""
        values = {name: own.item() if bool(own.is_number()) else math.nan for name, own in self.inputs.items()}
        return {**values, "log_m": math.log(math.prod(self.shape))}

    @property
    def errors(self) -> dict[str, float]:
        """Standard errors by name."""
        return {name: float(own.stderr) for name, own in self.inputs.items()}

    def missing(self, names: Sequence[str]) -> str:
        """Why there is no forecast from these inputs; empty where there is one."""
        for name in names:
            own = self.inputs.get(name)
            if name != "log_m" and (own is None or not bool(own.is_number())):
                return f"no {name}: {own.message if own is not None and own.message else 'it is undetermined'}"
        return ""


def measured_inputs(encoded: Encoded) -> dict[str, Estimate]:
    """The inputs of all forecasts, by name; ``undetermined`` with a reason where a model has none.

    `nu` is that of the whole latent: where it has more than 256 entries and the decoder takes crops, that of a crop of
    at most so many, times the ratio of entries (see `whole_rank`).

    Args:
        encoded: images as the model encodes them; with `features` of `reference_features`, or those that samples will
            be judged in.
    """
    return {name: _measured(name, encoded) for name in INPUTS}


def _measured(name: str, encoded: Encoded) -> Estimate:
    try:
        return whole_rank(encoded) if name == "nu" else PREDICTORS[name].measured(encoded)
    except Exception as error:  # one number that fails must not cost the others
        nothing = torch.full((1,), math.nan)
        return Estimate(nothing, nothing, 0, 0, "undetermined", in_one_line(error))
