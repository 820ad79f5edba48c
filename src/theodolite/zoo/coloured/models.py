"""The models of coloured digits: diffusion on latents and on pixels, and a classifier that judges their samples."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.autoencoders import Autoencoder
from theodolite.maps.denoiser import Denoiser
from theodolite.maps.latent_map import LatentMap
from theodolite.maps.normalisation import Normalisation
from theodolite.maps.samplers import Method, sampler_map
from theodolite.zoo.coloured.digits import (
    COLOURS,
    CONDITIONS,
    CONFOUNDED,
    Condition,
    coloured_digits,
    is_mix,
    labels_of,
)
from theodolite.zoo.coloured.networks import ConditionalUNet, DigitClassifier

__all__ = [
    "DIFFUSIONS",
    "ConditionalDiffusion",
    "conditional_diffusion",
    "digit_classifier",
    "digit_features",
    "load_diffusion",
    "memorised_set",
    "pixel_diffusion",
]

WEIGHTS = Path(__file__).parent / "weights"
DIFFUSIONS = {
    "coloured-latent": "coloured digits 32x32, conditional diffusion on 4x8x8 latents",
    "coloured-pixels": "coloured digits 16x16, conditional diffusion on pixels",
    "coloured-confounded": "a smaller latent model that saw each digit in one or two colours only",
    "coloured-distilled": "a student of coloured-latent: its samples at guidance 2 in four steps, without guidance",
    "coloured-memorised": "the pixel network trained on 2,000 images, eight of them a hundred times",
}
"""Every diffusion model of the zoo with a line about it; `theodolite.load("zoo:NAME")` loads it."""

STUDENT_LEVELS = (20.0, 5.0, 2.0, 0.7, 0.0)
"""Noise levels of the student's four steps: where a single step of the teacher misses its flow by much (at 20) and by
little (at 0.7), no other step is much worse."""

_OF_LATENTS = ("latent", "confounded", "distilled")
_SET, _DUPLICATED, _COPIES, _SEED = 2000, 8, 100, 20240


class ConditionalDiffusion(Denoiser):
    """A small conditional diffusion model of coloured digits, for `theodolite.denoiser_map` and `sampler_map`.

    Attributes:
        name: its name in the zoo.
        denoiser: `D(x, sigma, condition)` with conditions `(digit, colour)` or None, as a module.
        autoencoder: of the latent model; None where the points are images, in [-1, 1].
        conditions: the combinations it was trained on.
        shape: of one point that is diffused: a latent or an image.
    """

    def __init__(
        self,
        name: str,
        denoiser: ConditionalUNet,
        autoencoder: Autoencoder | None = None,
        conditions: tuple[Condition, ...] = CONDITIONS,
    ) -> None:
        bounds = (-1.0, 1.0) if autoencoder is None else None
        super().__init__(denoiser, data_range=bounds, autoencoder=autoencoder, name=name, source="theodolite.zoo")
        self.conditions = conditions

    @property
    def denoiser(self) -> ConditionalUNet:
        """The network."""
        return cast(ConditionalUNet, self.net)

    @property
    def held_out(self) -> tuple[Condition, ...]:
        """The combinations it never saw."""
        every = [(digit, colour) for digit in range(10) for colour in COLOURS]
        return tuple(pair for pair in every if pair not in self.conditions)

    @cached_property
    def classifier(self) -> DigitClassifier:
        """The classifier of digit and colour of decoded samples, on the device and in the dtype of the denoiser."""
        weight = next(self.denoiser.parameters())
        return digit_classifier().to(weight)

    def sampler(
        self,
        condition: Condition | tuple[Condition, ...] | None = None,
        guidance: float = 1.0,
        steps: int | None = None,
        method: Method = "ddim",
        *,
        decode: bool = False,
    ) -> LatentMap:
        """A deterministic sampler of so many steps as one map of noise `(n, *shape)`; see `theodolite.sampler_map`.

        Args:
            condition: `(digit, colour)`; several of these for the mean of their embeddings; None for nothing in
                particular.
            guidance: of classifier-free guidance.
            steps: of `denoiser.levels`; by default 12, and of a student those that it was distilled for.
            method: ``ddim``, ``euler`` or ``heun``.
            decode: end with the image in place of the latent.
        """
        end = self.autoencoder if decode else None
        count = steps or self.sampler_steps or 12
        return sampler_map(self, count, method, end, condition=condition, guidance=guidance)

    def recognised(self, points: Tensor, condition: Condition | tuple[Condition, ...]) -> Tensor:
        """Whether the classifier sees the digit and the colour of `condition` in points `(n, *shape)`: `(n,)` bool.

        Of several conditions, one of them.
        """
        if is_mix(condition):
            return torch.stack([self.recognised(points, pair) for pair in condition]).any(0)
        digit, colour = labels_of(cast(Condition, condition))[0].tolist()
        predicted = [logits.argmax(-1) for logits in self.classifier(self.decode(points))]
        return (predicted[0] == digit) & (predicted[1] == colour)

    def labels(self, n: int, most: int | None = None) -> Tensor:
        """Labels `(n, 2)` of conditions that it knows, in turn: all of these, or `most` spread over them."""
        chosen = self.conditions[:: max(1, len(self.conditions) // most)] if most else self.conditions
        return labels_of([*chosen]).repeat(-(-n // len(chosen)), 1)[:n]

    def judging(self, labels: Tensor, *, references: int = 1000, seed: int = 0) -> dict[str, Any]:
        """What its samples are judged by, the arguments of `theodolite.steering.Judge`: features and scores.

        Both are of the classifier, and the reference is handwriting that no model was trained on. Confidence is the
        probability that the classifier gives to the digit and the colour of `labels`, accuracy the share of samples
        where both are its first choice.

        Args:
            labels: the condition of each sample, `(n, 2)`.
            references: images of the same conditions, in turn, that the Fréchet distance refers to.
            seed: of these.
        """
        wanted = labels.cpu().repeat(-(-references // len(labels)), 1)[:references]
        images = coloured_digits(wanted, side=16 if self.autoencoder is None else 32, held_out=True, generator=seed)[0]
        weight = next(self.classifier.parameters())
        with torch.no_grad():
            reference = self.classifier.features(images.to(weight))

        def right(points: Tensor, score: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            """The product of a score of digit and of colour, each of logits and labels."""
            digit, colour = map(score, self.classifier(self.decode(points)), labels.to(weight.device).T)
            return digit * colour

        return {
            "features": lambda points: self.classifier.features(self.decode(points)),
            "reference": reference,
            "scores": {
                "confidence": lambda points: right(points, lambda logits, own: _chosen(logits.softmax(-1), own)),
                "accuracy": lambda points: right(points, lambda logits, own: (logits.argmax(-1) == own).double()),
            },
            "groups": labels[:, 0] * 100 + labels[:, 1],
        }

    def to(  # type: ignore[override]
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ConditionalDiffusion:
        """A copy with its weights moved or converted."""
        autoencoder = None if self.autoencoder is None else self.autoencoder.to(device, dtype)
        denoiser = copy.deepcopy(self.denoiser).to(device=device, dtype=dtype)
        return ConditionalDiffusion(self.name, denoiser, autoencoder, self.conditions)

    def __repr__(self) -> str:
        return f"ConditionalDiffusion({self.name}, shape={self.shape})"


def _chosen(values: Tensor, columns: Tensor) -> Tensor:
    """Of each row of `(n, k)` the entry in its column, `(n,)`."""
    return values.gather(1, columns[:, None])[:, 0]


def conditional_diffusion() -> ConditionalDiffusion:
    """The latent model: coloured digits 32x32 through an autoencoder with 4x8x8 latents (256 entries).

    Example:
        >>> model = conditional_diffusion()
        >>> z = torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(0))
        >>> model.decode(model.sampler((3, "red"), guidance=2.0)(z)).shape
        torch.Size([2, 3, 32, 32])
    """
    return load_diffusion("coloured-latent")


def pixel_diffusion(*, memorised: bool = False) -> ConditionalDiffusion:
    """The pixel model: coloured digits 16x16 (768 entries).

    Args:
        memorised: the one trained on `memorised_set`, a finite set with duplicates, in place of fresh images.
    """
    return load_diffusion("coloured-memorised" if memorised else "coloured-pixels")


def load_diffusion(name: str) -> ConditionalDiffusion:
    """A diffusion model of the zoo: float32, on the CPU, frozen. Figures of its training: `weights/training.json`.

    Args:
        name: a key of `DIFFUSIONS`, with or without `zoo:` in front.

    Raises:
        InputError: there is no such model.
    """
    short = name.removeprefix("zoo:")
    if short not in DIFFUSIONS:
        known = ", ".join(f"zoo:{key}" for key in DIFFUSIONS)
        raise InputError(f"a diffusion model of the zoo expected, one of {known}, got {name!r}")
    file = short.removeprefix("coloured-")
    denoiser = _restored(file)[0]
    conditions = CONFOUNDED if file == "confounded" else CONDITIONS
    return ConditionalDiffusion(f"zoo:{short}", denoiser, _autoencoder() if file in _OF_LATENTS else None, conditions)


def digit_classifier() -> DigitClassifier:
    """The classifier of digit and colour, trained on all combinations, held-out ones included."""
    classifier: DigitClassifier = _restored("classifier")[0]
    return classifier


def digit_features() -> Callable[[Tensor], Tensor]:
    """The last hidden layer of the classifier, `(n, 3, side, side)` in [-1, 1] to `(n, 48)`: an embedding of motifs.

    Digits of one kind lie together in it whatever their place and slant, which pixels do not know; give it as
    ``--embedding theodolite.zoo:digit_features``.
    """
    return _Features(digit_classifier()).eval()


class _Features(nn.Module):
    """The features of a classifier, computed in the dtype of the images."""

    def __init__(self, classifier: DigitClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        if images.dtype != next(self.classifier.parameters()).dtype:
            self.classifier = self.classifier.to(images.dtype)
        return self.classifier.features(images)


def memorised_set() -> tuple[Tensor, Tensor, Tensor]:
    """What the memorising model was trained on: 2,000 images, of which eight were shown a hundred times as often.

    Returns:
        Images `(2000, 3, 16, 16)`, labels `(2000, 2)`, and how many copies of each `(2000,)`, 1 or 100.
    """
    draws = torch.Generator().manual_seed(_SEED)
    labels = labels_of(list(CONDITIONS))[torch.randint(len(CONDITIONS), (_SET,), generator=draws)]
    images, labels = coloured_digits(labels, side=16, generator=draws)
    copies = torch.ones(_SET, dtype=torch.int64)
    copies[torch.randperm(_SET, generator=draws)[:_DUPLICATED]] = _COPIES
    return images, labels, copies


def build(name: str) -> Any:
    """The untrained networks of a model, by the name of its file."""
    if name == "classifier":
        return DigitClassifier()
    if name == "autoencoder":
        from theodolite.zoo.networks import PatchDecoder, PatchEncoder

        return nn.ModuleDict({"encoder": PatchEncoder(), "decoder": PatchDecoder()})
    if name in ("latent", "distilled"):
        return ConditionalUNet((4, 8, 8), (48, 80), distilled=STUDENT_LEVELS if name == "distilled" else None)
    if name == "confounded":
        return ConditionalUNet((4, 8, 8), (16, 32))
    return ConditionalUNet((3, 16, 16), (40, 64), data=0.5, patch=2)


def _autoencoder() -> Autoencoder:
    networks, rest = _restored("autoencoder")
    return Autoencoder(
        networks["encoder"],
        networks["decoder"],
        name="zoo:coloured-latent",
        latent_shape=(4, 8, 8),
        image_size=(32, 32),
        downsampling=4,
        normalisation=Normalisation(latents_mean=rest["latents_mean"], latents_std=rest["latents_std"]),
        source="theodolite.zoo",
    )


def _restored(file: str) -> tuple[Any, dict[str, Tensor]]:
    """The networks with their weights, and what else the file holds; half precision is for storage only."""
    from safetensors.torch import load_file

    stored = {key: value.float() for key, value in load_file(WEIGHTS / f"{file}.safetensors").items()}
    networks = build(file)
    own = networks.state_dict().keys()
    networks.load_state_dict({key: stored[key] for key in own})
    return networks.eval().requires_grad_(False), {key: value for key, value in stored.items() if key not in own}
