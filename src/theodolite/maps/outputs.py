"""Latents, posteriors and images out of whatever an `encode` or a `decode` returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from theodolite.errors import InputError

__all__ = ["mean_of", "read_images", "read_posterior"]

_POSTERIORS = ("latent_dist", "posterior", "q_z", "qz")
_LATENTS = ("latents", "latent", "z", "mean", "mu", "loc", "z_mean", "embedding", "embeddings")
_DEVIATIONS = ("std", "stddev", "scale", "sigma")
_LOG_VARIANCES = ("logvar", "log_var", "log_variance", "z_logvar", "z_log_var")
_IMAGES = (
    "sample", "reconstruction", "reconstructions", "recon", "x_recon", "recon_x", "x_rec", "x_hat", "images", "image",
    "decoded", "output", "x", "mean", "loc",
)  # fmt: skip


def mean_of(output: Any) -> Tensor:
    """The latents of a deterministic encoder, or the mean of a posterior, out of whatever an `encode` returns."""
    posterior = read_posterior(output)
    return posterior if isinstance(posterior, Tensor) else posterior[0]


def read_posterior(output: Any) -> Tensor | tuple[Tensor, Tensor]:
    """Latents, or the mean and standard deviation of a posterior, out of whatever an `encode` returns.

    That is a tensor; a tuple `(latents,)`, `(mean, std)` or `(latents, what else)`; a `torch.distributions` object or
    one with `mode()` and `std`; or an object or dictionary with any of those under a usual name (`latent_dist`,
    `posterior`, `latents`, `latent`, `z`, `mean` with `std` or `logvar`, `mu`, ...).

    Raises:
        InputError: there is neither in it.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Distribution):
        return _of_distribution(output)
    if (posterior := _entry(output, _POSTERIORS)) is not None:
        return read_posterior(posterior)
    if callable(getattr(output, "mode", None)):  # diffusers' and LDM's DiagonalGaussianDistribution
        std = getattr(output, "std", None)
        return output.mode() if std is None else (output.mode(), std)
    if isinstance(latents := _entry(output, _LATENTS), Tensor | Distribution):
        return _with_deviation(latents, output)
    if isinstance(output, tuple | list) and output:
        return _of_tuple(output)
    raise InputError(
        "encode expected to return latents, (mean, std), a distribution, a dictionary with `latent`, or a diffusers "
        f"output, got {_described(output)}"
    )


def read_images(output: Any) -> Tensor:
    """Images out of whatever a `decode` returns.

    That is a tensor, a tuple that begins with one, a distribution (its mean), or an object or dictionary with any of
    those under a usual name (`sample`, `reconstruction`, `recon`, `x_hat`, `image`, ...) or as its only tensor.

    Raises:
        InputError: there are none in it.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Distribution):
        return mean_of(output)
    if isinstance(output, tuple | list) and output:
        return read_images(output[0])
    images = _entry(output, _IMAGES)
    if images is None and isinstance(output, Mapping):
        tensors = [value for value in output.values() if isinstance(value, Tensor)]
        images = tensors[0] if len(tensors) == 1 else None
    if not isinstance(images, Tensor | Distribution):
        raise InputError(
            "decode expected to return images, a dictionary with `sample` or `reconstruction`, or a diffusers output, "
            f"got {_described(output)}"
        )
    return read_images(images)


def _entry(output: Any, names: tuple[str, ...]) -> Any:
    """The first of `names` that is an entry of a dictionary or a plain attribute, and not None."""
    for name in names:
        value = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if value is not None and not callable(value):
            return value
    return None


def _of_distribution(distribution: Distribution) -> Tensor | tuple[Tensor, Tensor]:
    try:
        return distribution.mean, distribution.stddev
    except NotImplementedError as error:
        raise InputError(
            f"a distribution with a mean expected of encode, got {type(distribution).__name__}; return its latents"
        ) from error


def _with_deviation(latents: Tensor | Distribution, output: Any) -> Tensor | tuple[Tensor, Tensor]:
    if isinstance(latents, Distribution):
        return _of_distribution(latents)
    std, log_variance = _entry(output, _DEVIATIONS), _entry(output, _LOG_VARIANCES)
    if _is_like(std, latents):
        return latents, std
    return (latents, (log_variance / 2).exp()) if _is_like(log_variance, latents) else latents


def _of_tuple(output: tuple[Any, ...] | list[Any]) -> Tensor | tuple[Tensor, Tensor]:
    """`(mean, std)` where the second entry has the shape of the first; else what the first is.

    Quantising models return `(latents, loss, indices)`: a loss is no deviation.
    """
    if not isinstance(output[0], Tensor):
        return read_posterior(output[0])
    return (output[0], output[1]) if len(output) > 1 and _is_like(output[1], output[0]) else output[0]


def _is_like(value: Any, latents: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == latents.shape


def _described(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a dictionary with {', '.join(str(key) for key in output) or 'nothing'}"
    return type(output).__name__
