"""What a ranking is given: images as one batch with their sources, models that fit them, and their latents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.data.images import ImageSet, find_images, load_image
from theodolite.data.sources import sources_of
from theodolite.errors import InputError, path_of

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.maps import Autoencoder

__all__ = ["batch_of", "encoded", "found_images", "labels_of", "loaded_models", "sources_of_images"]

_BATCH = 8


def found_images(images: Any, settings: Mapping[str, Any], groups: Sequence[str] | None) -> ImageSet | None:
    """The images of a folder; None for a batch."""
    import torch

    if isinstance(images, torch.Tensor):
        given = [name for name in ("limit", "size", "group") if settings[name] is not None]
        if given:
            raise InputError(f"{given[0]}= belongs to a folder of images, got it with a batch; cut the batch instead")
        if groups is not None and len(groups) != len(images):
            raise InputError(f"one group an image expected, got {len(groups)} for {len(images)} images")
        return None
    if groups is not None:
        raise InputError("groups= belongs to a batch of images, got it with a folder; use group=, a regular expression")
    return find_images(path_of(images, "the image folder"), settings["limit"])


def sources_of_images(found: ImageSet | None, n: int, group: str | None) -> list[str]:
    """The source of each image: each its own in a batch, as `group` or the file's name says in a folder."""
    if found is None:
        return [f"{place:06d}" for place in range(n)]
    return sources_of([image.file for image in found.files], group)


def loaded_models(models: Sequence[Any], device: Any) -> list[Autoencoder]:
    """The models, all different and all of one kind of image."""
    from theodolite.maps import Autoencoder
    from theodolite.maps.loading import load_autoencoder

    loaded = [one if isinstance(one, Autoencoder) else load_autoencoder(one, device=device) for one in models]
    seen: dict[str, str] = {}
    for one in loaded:
        if one.fingerprint() in seen:
            raise InputError(f"different models expected, got {one.name} twice (as {seen[one.fingerprint()]} before)")
        seen[one.fingerprint()] = one.name
    channels = {one.image_channels for one in loaded}
    if len(channels) > 1 or not channels <= {1, 3}:
        raise InputError(
            f"models of grey or of RGB images expected, all of one kind, got models of {sorted(channels)} channels"
        )
    return loaded


def labels_of(given: Sequence[str], autoencoders: Sequence[Autoencoder]) -> list[str]:
    """What each model is called: its name, or where two share one how it was given, or else with its fingerprint."""
    names = [one.name for one in autoencoders]
    return [
        name if names.count(name) == 1 else text if given.count(text) == 1 else f"{name} {one.fingerprint()[:6]}"
        for name, text, one in zip(names, given, autoencoders)
    ]


def batch_of(
    found: ImageSet | None, images: Any, autoencoders: Sequence[Autoencoder], settings: Mapping[str, Any]
) -> tuple[Tensor, list[dict[str, str]]]:
    """The images as all models take them, and what the record says of their files."""
    import torch

    if found is None:
        batch = images
        files = [{"sample": f"{place:06d}", "sha256": ""} for place in range(len(batch))]
    else:
        multiple, size = math.lcm(*(one.downsampling for one in autoencoders)), settings["size"]
        if size is None:
            found.of_one_size(multiple)
        channels = autoencoders[0].image_channels
        options = {"channels": channels, "size": size, "multiple": multiple}
        batch = torch.cat([load_image(image.path, **options) for image in found.files])
        files = [{"sample": image.sample, "file": image.file, "sha256": image.sha256} for image in found.files]
    for one in autoencoders:
        one.check_images(batch)
    if len(batch) < 2:
        raise InputError(f"at least two images expected, got {len(batch)}; give more data")
    return batch.cpu(), files


def encoded(autoencoder: Autoencoder, images: Tensor) -> Tensor:
    """All latents in float32; whatever the user's encoder raises, in one line."""
    import torch

    from theodolite.scores.clouds import checked_cloud
    from theodolite.surveys.measure import refusing

    with refusing(autoencoder.name, "failed to encode the images", "try another --size"), torch.no_grad():
        latents = torch.cat([autoencoder.encode(part) for part in images.split(_BATCH)]).float()
    checked_cloud(latents, f"latents of {autoencoder.name}")
    return latents
