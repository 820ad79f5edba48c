"""Every diffusers autoencoder of images as an `Autoencoder`: what differs between the classes lives here.

What the classes return is read from the result itself (`latent_dist`, `latents`, `latent`, `sample`), so that a new
class needs a line only where it departs from the others: in its latent statistics, in the range of its pixels, or in
how it decodes.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.autoencoders import Autoencoder
from theodolite.maps.normalisation import Normalisation
from theodolite.maps.outputs import mean_of, read_images, read_posterior
from theodolite.maps.probing import Shapes, probe

__all__ = ["DiffusersDecoder", "DiffusersEncoder", "check_class", "from_diffusers", "normalisation_of"]

_REFUSED = {
    "AutoencoderOobleck": "it encodes audio",
    "AutoencoderSAME": "it encodes audio",
    "LongCatAudioDiTVae": "it encodes audio",
    "MMAudioVAE": "it encodes audio",
    "RFD4ProteinaAutoencoder": "it encodes protein structures",
    "AutoencoderKLAllegro": "it encodes clips of several frames, never a single image",
    "AutoencoderKLMiniMaxH3": "it decodes clips of several frames, never a single image",
    "AutoencoderVidTok": "it encodes clips of several frames, and keeps some between calls",
    "ConsistencyDecoderVAE": "its decoder draws noise, so that a latent has no single image and no Jacobian",
    "LTX2VideoDiffusionDecoderModel": "its decoder is a diffusion sampler that draws noise",
}
_SIDES = (32, 64, 128, 256, 512)
"""Sides that are tried: every class takes powers of two."""
_CLAMPED = ("AutoencoderKLWan", "AutoencoderKLQwenImage", "AutoencoderKLQwenImage21")


class _Adapter(nn.Module, ABC):
    """One direction of a diffusers model on images: a video of one frame, another range of pixels, a fourth channel."""

    def __init__(self, model: nn.Module, by_row: bool = False) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self.by_row = by_row
        self.frames = _has_frames(model)
        self.opaque = _has_alpha(model)
        self.pixels = pixels_of(model)

    def forward(self, batch: Tensor) -> Any:
        """Run a batch: one pass."""
        if not self.by_row:
            return self._run(batch)
        rows = [self._run(batch[i : i + 1]) for i in range(len(batch))]
        return torch.cat(rows) if isinstance(rows[0], Tensor) else tuple(torch.cat(column) for column in zip(*rows))

    @abstractmethod
    def _run(self, batch: Tensor) -> Any:
        """Run a batch in one call of the model."""


class DiffusersEncoder(_Adapter):
    """Images `(n, channels, height, width)` in [-1, 1] to raw latents, or to the mean and deviation of a posterior.

    Args:
        model: any diffusers autoencoder of images, or of videos (an image is then a video of one frame).
        by_row: run one image at a time, for a model that fails on batches or mixes their rows.
    """

    def _run(self, batch: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        pixels = self.pixels.apply(batch)
        pixels = torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1) if self.opaque else pixels
        model: Any = self.model
        posterior = read_posterior(model.encode(pixels.unsqueeze(2) if self.frames else pixels))
        if not self.frames:
            return posterior
        if isinstance(posterior, Tensor):
            return posterior.squeeze(2)
        return posterior[0].squeeze(2), posterior[1].squeeze(2)


class DiffusersDecoder(_Adapter):
    """Raw latents to images `(n, channels, height, width)` in [-1, 1], without quantisation.

    Args:
        model: as for `DiffusersEncoder`.
        by_row: as for `DiffusersEncoder`.
    """

    def _run(self, batch: Tensor) -> Tensor:
        decoded = self._decode(batch.unsqueeze(2) if self.frames else batch)
        images = decoded.squeeze(2) if self.frames else decoded
        return self.pixels.invert(images[:, :3] if self.opaque else images)

    def _decode(self, latents: Tensor) -> Tensor:
        model: Any = self.model
        if _class_of(model) == "VQModel":  # what force_not_quantize=True does, also where the codebook is looked up
            guide = latents if model.config.norm_type == "spatial" else None
            return read_images(model.decoder(model.post_quant_conv(latents), guide))
        return read_images(model.decode(latents, **_extras(model, latents)))


def _extras(model: Any, latents: Tensor) -> dict[str, Any]:
    """Arguments of `decode` that a single image fixes."""
    extras: dict[str, Any] = {}
    if "num_frames" in inspect.signature(model.decode).parameters:
        extras["num_frames"] = 1
    if model.config.get("timestep_conditioning"):
        extras["temb"] = torch.zeros(len(latents), device=latents.device, dtype=latents.dtype)
    return extras


def normalisation_of(model: Any) -> Normalisation:
    """The latent convention that `model` declares, as the diffusers pipelines apply it.

    Statistics are read from the configuration, from buffers (LTX), or from the running statistics of a batch
    normalisation over 2x2 patches (Flux 2). Quantised models whose pipelines do not scale (Kandinsky's MoVQ, aMUSEd)
    keep their raw latents, whatever scaling factor their configuration carries by default, and so does a model whose
    own `encode` normalises (RAE).
    """
    config = model.config
    if _is_unscaled(model):
        return Normalisation()
    if _class_of(model) == "AutoencoderKLFlux2":
        std = torch.sqrt(model.bn.running_var.double() + config.batch_norm_eps)
        return Normalisation(latents_mean=model.bn.running_mean, latents_std=std, patch=config.patch_size[0])
    mean, std = _statistics(model)
    paired = mean is not None and std is not None  # pipelines use the two together or not at all
    return Normalisation(
        scaling_factor=_given_or(config.get("scaling_factor"), 1.0),
        shift_factor=_given_or(config.get("shift_factor"), 0.0),
        latents_mean=mean if paired else None,
        latents_std=std if paired else None,
    )


def _statistics(model: Any) -> tuple[Any, Any]:
    """Mean and deviation of each latent channel: from the configuration, else from buffers."""
    statistics = [
        model.config[name] if name in model.config else getattr(model, name, None)
        for name in ("latents_mean", "latents_std")
    ]
    if _class_of(model) == "AutoencoderKLCosmos":  # stored for each frame of a chunk: an image is its first frame
        channels = model.config.latent_channels
        statistics = [None if own is None else torch.tensor(own).view(channels, -1)[:, 0] for own in statistics]
    return statistics[0], statistics[1]


def _given_or(value: float | Sequence[float] | None, default: float) -> float | Sequence[float]:
    return default if value is None else value


def _is_unscaled(model: Any) -> bool:
    name = _class_of(model)
    quantised = name == "VQModel" and (model.config.norm_type == "spatial" or model.config.lookup_from_codebook)
    return quantised or name == "AutoencoderRAE"


def pixels_of(model: Any) -> Normalisation:
    """From pixels in [-1, 1] to the ones `model` was trained on; the identity for nearly every class."""
    name = _class_of(model)
    if name == "AutoencoderRAE":  # [0, 1]
        return Normalisation(scaling_factor=0.5, shift_factor=-1.0)
    if name == "Kandinsky6SRVAE":  # pixel / 128 - 1 in place of pixel / 127.5 - 1
        return Normalisation(scaling_factor=127.5 / 128, shift_factor=128 / 127.5 - 1)
    return Normalisation()


def _has_frames(model: nn.Module) -> bool:
    """Whether `model` takes videos: then an image is a video of one frame."""
    parts = getattr(model, "encoder", model).modules()
    return any(isinstance(part, nn.Conv3d) or "Conv3d" in type(part).__name__ for part in parts)


def _has_alpha(model: Any) -> bool:
    """Whether `model` takes a fourth, opaque channel beside the three of an image (Qwen-Image layered and 2.1)."""
    channels = model.config.get("in_channels", model.config.get("input_channels"))
    return _class_of(model).startswith("AutoencoderKLQwenImage") and channels == 4


def _class_of(model: object) -> str:
    return type(model).__name__


def check_class(name: str) -> None:
    """Raise `InputError` where the diffusers class `name` cannot be an autoencoder of images, saying why."""
    reason = _REFUSED.get(name)
    if reason is None and ("Audio" in name or "Vocoder" in name):
        reason = "it encodes audio"
    if reason:
        raise InputError(f"an autoencoder of images with continuous latents expected, {name} is none: {reason}")


def from_diffusers(
    model: Any,
    *,
    name: str | None = None,
    source: str = "",
    notes: Sequence[str] = (),
    size: tuple[int, int] | None = None,
) -> Autoencoder:
    """Any diffusers autoencoder that encodes images to continuous latents, as an `Autoencoder`.

    Sizes are found by encoding and decoding noise: a few passes at 32 pixels, or more where the model needs more.

    Args:
        model: the diffusers model, in `eval()` mode.
        name: what reports call it; the class when None.
        source: where it came from.
        notes: sentences to record beside those that belong to the class.
        size: height and width of the images that are to be measured, which is tried too.

    Raises:
        InputError: the class encodes something else, draws noise, or cannot take a single image.
    """
    check_class(_class_of(model))
    name, normalisation = name or _class_of(model), normalisation_of(model)
    shapes = _shapes_of(model, name, normalisation, size)
    by_row = _mixes_rows(model, shapes)
    return Autoencoder(
        DiffusersEncoder(model, by_row),
        DiffusersDecoder(model, by_row),
        name=name,
        latent_shape=shapes.latent_shape,
        image_channels=shapes.image_channels,
        downsampling=shapes.downsampling,
        image_size=shapes.image_size,
        normalisation=normalisation,
        settings={"class": _class_of(model), "config": _plain(model.config)},
        source=source,
        notes=[*notes, *_notes_of(model), *["the model takes one image at a time"] * by_row],
    )


def _shapes_of(model: Any, name: str, normalisation: Normalisation, size: tuple[int, int] | None) -> Shapes:
    own = getattr(model, "decoder_image_size", None)
    weight = next(model.parameters())
    return probe(
        DiffusersEncoder(model),
        DiffusersDecoder(model),
        name=name,
        normalisation=normalisation,
        channels=dict.fromkeys((3, model.config.get("in_channels", 1))),
        size=None if own else size,
        sides=(own,) if own else _SIDES,
        device=weight.device,
        dtype=weight.dtype,
    )


@torch.no_grad()
def _mixes_rows(model: Any, shapes: Shapes) -> bool:
    """Whether a batch of two fails, or gives other latents or images than its rows one at a time."""
    encoder, decoder = DiffusersEncoder(model), DiffusersDecoder(model)
    weight = next(model.parameters())
    ramp = torch.linspace(-1, 1, shapes.side, device=weight.device, dtype=weight.dtype)
    image = ramp.expand(1, shapes.image_channels, shapes.side, shapes.side)
    try:
        latents = [mean_of(encoder(batch)) for batch in (image, torch.cat([image, -image]))]
        images = [decoder(batch) for batch in latents]
    except Exception:  # a model that takes no batches raises what it likes
        return True
    return not all(torch.allclose(two[:1], row, rtol=1e-3, atol=1e-3) for row, two in (latents, images))


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without what does not change an output: the path, the version."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


def _notes_of(model: Any) -> list[str]:
    """What a reader of the numbers should know about this class."""
    name, config = _class_of(model), model.config
    notes = {
        "latent_magnitude and latent_shift serve 8-bit storage and are not applied": name == "AutoencoderTiny",
        "latents are taken before quantisation, and the decoder does not quantise": name == "VQModel",
        "the scaling_factor of the configuration is not applied: the pipelines of this model do not": name == "VQModel"
        and _is_unscaled(model),
        "latents are normalised inside the model's own encode and decode": name == "AutoencoderRAE",
        "the decoder runs without a mask": name == "AsymmetricAutoencoderKL",
        "the decoder clamps its output to [-1, 1]: derivatives of saturated pixels are zero": name in _CLAMPED,
        "the scheduler's sigma_data also multiplies the latents in Cosmos pipelines; it is not applied here": name
        == "AutoencoderKLCosmos",
        "an image is a video of one frame": _has_frames(model),
        "images get an opaque fourth channel, and the decoded one is dropped": _has_alpha(model),
        "the decoder runs at timestep 0, the default of its pipelines": bool(config.get("timestep_conditioning")),
        "large images are processed in blended tiles, as released": bool(getattr(model, "use_tiling", False)),
    }
    return [note for note, holds in notes.items() if holds]
