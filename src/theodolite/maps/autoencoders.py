"""`Autoencoder`: encode, decode, and the two as maps on normalised latents."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.copying import copied
from theodolite.maps.latent_map import LatentMap
from theodolite.maps.normalisation import Normalisation
from theodolite.maps.outputs import mean_of, read_images, read_posterior

__all__ = ["Autoencoder"]

_OVERSHOOT = 1e-3  # what antialiased resizing and rounding may add to [-1, 1]
HALF = (torch.float16, torch.bfloat16)


class Autoencoder:
    """An encoder and a decoder with everything a survey needs to know about them.

    Images are `(n, channels, height, width)` in [-1, 1]; latents are `(n, *latent_shape)`, normalised.

    Args:
        encoder: images to raw latents, to `(mean, std)` of a posterior, to a `torch.distributions` object, to a
            dictionary with any of them, or to what a diffusers `encode` returns; a module, a method of one, or any
            callable.
        decoder: raw latents to images, to a dictionary with them, or to what a diffusers `decode` returns. Put modules
            in `eval()` mode first.
        name: what reports call it.
        latent_shape: the shape of one normalised latent, `None` for an axis of free size.
        image_channels: channels of an image.
        downsampling: side of an image over side of its latent; image sizes must be multiples of it.
        normalisation: the affine map from raw latents to normalised ones, applied once, here.
        output_range: lowest and highest value of an image.
        settings: what else decides the outputs; part of the fingerprint.
        image_size: `(height, width)` when the model takes no other size.
        source: where the model came from.
        notes: sentences a reader of the results should know.

    Example:
        >>> double = Autoencoder(lambda x: x / 2, lambda z: 2 * z, name="double", latent_shape=(3, None, None))
        >>> double.decode(double.encode(torch.ones(1, 3, 1, 1))).flatten().tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(
        self,
        encoder: Callable[[Tensor], Any],
        decoder: Callable[[Tensor], Any],
        *,
        name: str,
        latent_shape: tuple[int | None, ...],
        image_channels: int = 3,
        downsampling: int = 1,
        normalisation: Normalisation = Normalisation(),  # noqa: B008  (frozen)
        output_range: tuple[float, float] = (-1.0, 1.0),
        settings: Mapping[str, Any] | None = None,
        image_size: tuple[int, int] | None = None,
        source: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        self._parts = (as_module(encoder), as_module(decoder))
        self.name = name
        self.latent_shape = tuple(latent_shape)
        self.image_channels = image_channels
        self.downsampling = downsampling
        self.normalisation = normalisation
        self.output_range = output_range
        self.settings = dict(settings or {})
        self.image_size = image_size
        self.source = source
        self.notes = tuple(notes)
        self.encoder, self.decoder = self._maps()

    def _maps(self) -> tuple[LatentMap, LatentMap]:
        encoder, decoder = self._parts
        settings = {**self.settings, "normalisation": self.normalisation.describe()}
        size = self.image_size or (None, None)
        return (
            LatentMap(
                _encoding(encoder, self.normalisation),
                (self.image_channels, *size),
                name=f"{self.name} encoder",
                settings=settings,
            ),
            LatentMap(
                _decoding(decoder, self.normalisation),
                self.latent_shape,
                output_range=self.output_range,
                name=f"{self.name} decoder",
                settings=settings,
            ),
        )

    def encode(self, images: Tensor, sample: bool = False, generator: torch.Generator | int | None = None) -> Tensor:
        """Images `(n, channels, height, width)` in [-1, 1] to normalised latents; one pass of the encoder.

        Args:
            images: moved to the weights' device and dtype.
            sample: draw `mean + std * noise` from the posterior in place of its mean.
            generator: the stream of the noise, or a seed; torch's own stream when None.

        Raises:
            InputError: images of another range, shape or size, or `sample` of an encoder without a posterior.
        """
        self.check_images(images)
        posterior = read_posterior(self._parts[0](self._placed(images)))
        if not sample:
            return self.normalisation.apply(mean_of(posterior))
        if isinstance(posterior, Tensor):
            raise InputError(f"{self.name} encodes to one latent and has no posterior to sample; leave out sample=True")
        return self.normalisation.apply(_draw(*posterior, generator))

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation of the posterior of images, raw latents as the encoder gives them.

        None where it gives one latent an image; one pass of the encoder.

        Raises:
            InputError: images of another range, shape or size.
        """
        self.check_images(images)
        posterior = read_posterior(self._parts[0](self._placed(images)))
        return None if isinstance(posterior, Tensor) else posterior

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents `(n, *latent_shape)` to images `(n, channels, height, width)`; one pass of the decoder."""
        self.decoder.check(latents)
        return self.decoder(self._placed(latents))

    @property
    def device(self) -> torch.device:
        """Where the weights live; the CPU for functions without weights."""
        return self.decoder.device or self.encoder.device or torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights; float32 for functions without weights."""
        return self.decoder.dtype or self.encoder.dtype or torch.float32

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Autoencoder:
        """A copy with its weights moved or converted; this one is not touched.

        Raises:
            InputError: half precision: differences and small singular values do not survive it.
        """
        if dtype in HALF:
            raise InputError(f"float32 or float64 expected, got {dtype}: finite precision decides these numbers")
        parts = copied(self._parts)  # together: encoder and decoder may share one model
        twin = copy.copy(self)
        twin._parts = tuple(  # type: ignore[assignment]
            part.to(device=device, dtype=dtype) if isinstance(part, nn.Module) else part for part in parts
        )
        twin.encoder, twin.decoder = twin._maps()
        return twin

    def fingerprint(self) -> str:
        """SHA-256 over both maps (weights, code, normalisation, settings), as 16 hexadecimal digits."""
        both = f"{self.encoder.fingerprint()}{self.decoder.fingerprint()}"
        return hashlib.sha256(both.encode()).hexdigest()[:16]

    def check_images(self, images: Tensor) -> None:
        """Raise `InputError` unless `images` is a finite batch of the right channels and size in [-1, 1]."""
        if images.ndim != 4 or images.shape[1] != self.image_channels:
            raise InputError(
                f"images of shape (n, {self.image_channels}, height, width) expected by {self.name}, "
                f"got {tuple(images.shape)}"
            )
        if not images.is_floating_point():
            raise InputError(
                f"floating-point images in [-1, 1] expected by {self.name}, got {images.dtype}; "
                "convert 0..255 with `images.float() / 127.5 - 1`"
            )
        self.check_size(*images.shape[2:])
        if images.numel():
            _check_range(images, self.name)

    def check_size(self, height: int, width: int) -> None:
        """Raise `InputError` unless the model takes images of `height` by `width` pixels, naming the nearest sizes."""
        if self.image_size and (height, width) != self.image_size:
            raise InputError(
                f"images of {self.image_size[0]}x{self.image_size[1]} pixels expected by {self.name}, "
                f"got {height}x{width}; resize them to {self.image_size[0]}x{self.image_size[1]}"
            )
        if height < 1 or width < 1 or height % self.downsampling or width % self.downsampling:
            raise InputError(
                f"image sides divisible by {self.downsampling} expected by {self.name}, got {height}x{width}; "
                f"nearest valid size: {_nearest(height, self.downsampling)} by {_nearest(width, self.downsampling)}"
            )

    def describe(self) -> dict[str, Any]:
        """What a run records of this model, ready for JSON."""
        return {
            "name": self.name,
            "class": str(self.settings.get("class", type(self._parts[1]).__name__)),
            "source": self.source,
            "fingerprint": self.fingerprint(),
            "normalisation": self.normalisation.describe(),
            "latent_shape": list(self.latent_shape),
            "image_channels": self.image_channels,
            "image_size": list(self.image_size) if self.image_size else None,
            "downsampling": self.downsampling,
            "output_range": list(self.output_range),
            "parameters": sum(weight.numel() for weight in self._parameters()),
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "notes": list(self.notes),
        }

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The modules whose weights decide the outputs."""
        return (*self.encoder.modules, *self.decoder.modules)

    def _placed(self, tensor: Tensor) -> Tensor:
        """`tensor` where the weights are and in their dtype; as it is when there are no weights."""
        return tensor.to(
            device=self.decoder.device or self.encoder.device, dtype=self.decoder.dtype or self.encoder.dtype
        )

    def _parameters(self) -> Iterator[nn.Parameter]:
        """Each parameter once: encoder and decoder may share one model."""
        yield from nn.ModuleList(self.modules).parameters()

    def __repr__(self) -> str:
        size = f"image_size={self.image_size}" if self.image_size else f"downsampling={self.downsampling}"
        return f"Autoencoder({self.name}, latent_shape={self.latent_shape}, {size})"


class _Encoding(nn.Module):
    """Images to normalised latents, as one module, so that all of it converts to another dtype together."""

    def __init__(self, encoder: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.encoder = encoder
        self.training = encoder.training
        self.normalisation = normalisation

    def forward(self, images: Tensor) -> Tensor:
        return self.normalisation.apply(mean_of(self.encoder(images)))


class _Decoding(nn.Module):
    """Normalised latents to images, as one module."""

    def __init__(self, decoder: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.decoder = decoder
        self.training = decoder.training
        self.normalisation = normalisation

    def forward(self, latents: Tensor) -> Tensor:
        return read_images(self.decoder(self.normalisation.invert(latents)))


class _Method(nn.Module):
    """A method of a module as a module of its own, so that its weights are found and converted.

    It is the very function that was given, bound to the owner that this module holds: looked up by its name, a method
    of a base class would become that of the subclass, and a replaced or decorated one would not be there.
    """

    def __init__(self, owner: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.owner = owner
        self.training = owner.training
        self.function = function

    def forward(self, batch: Tensor) -> Any:
        return self.function(self.owner, batch)


def as_module(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a module as a module, and any other callable as it is."""
    owner, unbound = getattr(function, "__self__", None), getattr(function, "__func__", None)
    return _Method(owner, unbound) if isinstance(owner, nn.Module) and callable(unbound) else function


def _encoding(encoder: Callable[..., Any], normalisation: Normalisation) -> Callable[[Tensor], Tensor]:
    if isinstance(encoder, nn.Module):
        return _Encoding(encoder, normalisation)

    def encoding(images: Tensor) -> Tensor:
        return normalisation.apply(mean_of(encoder(images)))

    return encoding


def _decoding(decoder: Callable[..., Any], normalisation: Normalisation) -> Callable[[Tensor], Tensor]:
    if isinstance(decoder, nn.Module):
        return _Decoding(decoder, normalisation)

    def decoding(latents: Tensor) -> Tensor:
        return read_images(decoder(normalisation.invert(latents)))

    return decoding


def _draw(mean: Tensor, std: Tensor, generator: torch.Generator | int | None) -> Tensor:
    """`mean + std * noise`; the noise is drawn where the generator lives, so that a seed gives it on every device."""
    if isinstance(generator, int):
        generator = torch.Generator().manual_seed(generator)
    device = generator.device if generator is not None else mean.device
    noise = torch.randn(mean.shape, generator=generator, device=device, dtype=mean.dtype)
    return mean + std * noise.to(mean.device)


def _check_range(images: Tensor, name: str) -> None:
    low, high = (float(bound) for bound in torch.aminmax(images.detach()))
    if not -1 - _OVERSHOOT <= low <= high <= 1 + _OVERSHOOT:  # a NaN fails this too
        wide = "; convert 0..255 with `images / 127.5 - 1`" if low >= 0 and high > 1 else ""
        raise InputError(f"images in [-1, 1] expected by {name}, got values from {low:.4g} to {high:.4g}{wide}")


def _nearest(size: int, step: int) -> str:
    """The multiples of `step` around `size`, in words."""
    below, above = size // step * step, -(-size // step) * step
    return " or ".join(str(valid) for valid in dict.fromkeys((below, max(above, step))) if valid > 0)
