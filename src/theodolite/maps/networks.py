"""How denoising networks are called: with a time and conditions, by diffusers' names or in the order of arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.errors import InputError, in_one_line

__all__ = [
    "check_takes_step",
    "conditions_of",
    "is_network",
    "is_plain_denoiser",
    "name_of",
    "null_of",
    "prediction_in",
    "rows_of",
    "shape_of",
    "takes",
    "takes_condition",
    "takes_rows",
    "times_of",
]

_CONDITIONS = ("encoder_hidden_states", "pooled_projections", "added_cond_kwargs", "text_bth", "clip_text_pooled")
"""Arguments of networks that are told something beside point and time."""
_CLASSES = ("num_class_embeds", "class_embed_type")
"""Entries of configurations of networks that are told a class."""


def is_network(model: Any) -> bool:
    """Whether `model` is a diffusers network that denoises."""
    return isinstance(model, nn.Module) and hasattr(model, "config") and takes(model, "timestep")


def check_takes_step(model: Any) -> None:
    """Raise `InputError` for a diffusers network that is told something else than a step, e.g. a share of time."""
    if not isinstance(model, nn.Module) or not hasattr(model, "config_name") or takes(model, "timestep"):
        return
    taken = [name for name in inspect.signature(model.forward).parameters if name != "return_dict"]
    raise InputError(
        f"a network expected that takes a `timestep`, {type(model).__name__} takes {', '.join(taken[:4])}; wrap it as "
        "a function of the point and the noise level, theodolite.Denoiser(function, shape=...)"
    )


def is_plain_denoiser(model: Any) -> bool:
    """Whether `model` is a callable `D(x, sigma)`, with or without a condition, that says the `shape` of a point."""
    if not callable(model) or not isinstance(getattr(model, "shape", None), tuple | list) or is_network(model):
        return False
    try:
        signature = inspect.signature(_called(model))
    except ValueError:  # a callable without a signature
        return False
    return _binds(signature, None, 1.0) and not _binds(signature, None)


def takes(model: Any, argument: str) -> bool:
    """Whether a network or a function has an argument of this name."""
    try:
        return argument in inspect.signature(_called(model)).parameters
    except ValueError:  # a callable without a signature
        return False


def takes_condition(model: Any) -> bool:
    """Whether it can be called as `model(x, time, condition)`.

    Raises:
        InputError: not even as `model(x, time)`.
    """
    try:
        signature = inspect.signature(_called(model))
    except ValueError:  # a callable without a signature
        return True
    if _binds(signature, None, 1.0, None):
        return True
    if not _binds(signature, None, 1.0):
        raise InputError(
            f"a denoiser expected as model(x, sigma) or model(x, sigma, condition), {name_of(model)} takes "
            f"{signature}; wrap it in a function of these"
        )
    return False


def takes_rows(model: Callable[..., Any], call: Callable[[Tensor, Any], Any], y: Tensor, time: float) -> bool:
    """Whether the time goes to a network as a tensor `(n,)`, one entry a point; False where it takes a number only.

    Where the number of points is also another of their sizes, `(n,)` beside `(n, n)` is no error in torch: then it is
    tried on zeros, of another number.

    Args:
        model: the network, for messages.
        call: calls it with points and a time.
        y: points as it will be given.
        time: what it is told.

    Raises:
        InputError: it takes neither; the network's own, where it refuses by one.
    """
    if len(y) in (1, *y.shape[1:]):
        n = next(count for count in range(2, y.ndim + 3) if count not in y.shape[1:])
        y = torch.zeros(n, *y.shape[1:], dtype=y.dtype, device=y.device)
    reasons, refusal = [], None
    for argument in (times_of(time, y), time):
        try:
            with torch.no_grad():
                output = prediction_in(call(y, argument), y)
        except Exception as error:  # whatever the user's network raises
            refusal = error if isinstance(error, InputError) else refusal
            reasons.append(in_one_line(error))
            continue
        if isinstance(output, Tensor) and output.shape == y.shape:
            return isinstance(argument, Tensor)
        reasons.append(f"it returned {tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__}")
    if refusal is not None and len(reasons) == 2 and reasons[0] == reasons[1]:  # of its condition, whatever the time
        raise refusal
    raise InputError(
        f"{name_of(model)} expected to take points {tuple(y.shape)} with a time, a tensor (n,) or a number, and to "
        f"return one number for each entry, the shape of its point: {reasons[0]}"
    )


def times_of(time: float, x: Tensor) -> Tensor:
    """A time for every point, `(n,)`: whole numbers where it is one."""
    return torch.full((len(x),), time, device=x.device, dtype=torch.int64 if isinstance(time, int) else x.dtype)


def conditions_of(model: Any, condition: Any) -> dict[str, Any]:
    """The arguments of a diffusers network that a condition stands for.

    Raises:
        InputError: several rows, or an argument that it does not take.
    """
    if condition is None:
        return {}
    if isinstance(condition, Mapping):
        named = dict(condition)
    elif isinstance(condition, Tensor) and condition.is_floating_point():
        named = {"encoder_hidden_states": condition}
    else:
        named = {"class_labels": torch.as_tensor(condition).reshape(-1)}
    for name, value in named.items():
        if isinstance(value, Tensor) and (value.ndim == 0 or len(value) != 1) and not name.endswith("_ids"):
            raise InputError(
                f"condition {name!r} expected with one row, which holds for every latent, got shape "
                f"{tuple(value.shape)}; make one map a condition"
            )
        if isinstance(model, nn.Module) and not takes(model, name):
            known = ", ".join(known for known in (*_CONDITIONS, "class_labels") if takes(model, known)) or "none"
            raise InputError(
                f"{type(model).__name__} takes no condition {name!r} but {known}; name the tensors of a file, or the "
                "entries of a dictionary, as its arguments are"
            )
    config = getattr(model, "config", {})
    _check_class(model, config, named.get("class_labels"))
    if "class_labels" in named and "num_class_embeds" in config and all(config.get(name) is None for name in _CLASSES):
        raise InputError(f"{type(model).__name__} takes no class: it was made without any; leave the condition out")
    return named


def _check_class(model: Any, config: Mapping[str, Any], label: Any) -> None:
    """Refuse a class that a table of embeddings does not have, which torch would call an index out of range."""
    classes, of_dit = config.get("num_class_embeds"), config.get("num_embeds_ada_norm")
    count = classes if classes is not None else None if of_dit is None else of_dit + 1  # the last one is that of none
    if label is None or count is None or config.get("class_embed_type") is not None:
        return
    if not 0 <= int(label) < count:
        raise InputError(f"a class from 0 to {count - 1} expected by {type(model).__name__}, got {int(label)}")


def null_of(model: Any) -> dict[str, Any]:
    """The condition of nothing in particular: class `num_embeds_ada_norm` of a DiT, none of a network without any.

    Raises:
        InputError: it is not known, as of texts.
    """
    config = getattr(model, "config", {})
    classes = config.get("num_embeds_ada_norm")
    if classes is not None and takes(model, "class_labels"):
        return {"class_labels": torch.tensor([classes])}
    asks = [name for name in _CONDITIONS if takes(model, name)]
    if asks or any(config.get(name) is not None for name in _CLASSES):
        raise InputError(
            f"a condition of {type(model).__name__} expected, got none: it takes {', '.join(asks) or 'class_labels'}; "
            f"give a {'.safetensors file with embeddings, e.g. of the empty prompt' if asks else 'class'}"
        )
    return {}


def rows_of(name: str, value: Any, x: Tensor) -> Any:
    """One row of a condition for every point; coordinates of tokens (`img_ids`, `txt_ids`) hold for all as they are."""
    if isinstance(value, list | tuple) and value and all(isinstance(part, Tensor) for part in value):
        return type(value)(rows_of(name, part, x) for part in value)  # of layers, as of Bria Fibo's text encoder
    if not isinstance(value, Tensor):
        return value
    moved = value.to(x) if value.is_floating_point() else value.to(x.device)
    if name.endswith("_ids"):
        return moved
    return moved.expand(len(x), *value.shape[1:]).contiguous()  # HunyuanDiT takes views of it


def prediction_in(output: Any, x: Tensor) -> Any:
    """The tensor that a network returns, without learnt variances."""
    output = getattr(output, "sample", output)
    output = output[0] if isinstance(output, tuple) else output
    is_double = isinstance(output, Tensor) and output.ndim == x.ndim and output.shape[1] == 2 * x.shape[1]
    return output[:, : x.shape[1]] if is_double else output


def shape_of(model: Any) -> tuple[int | None, ...]:
    """The shape of one point as a network or its configuration says it.

    Raises:
        InputError: it does not.
    """
    own = getattr(model, "shape", None)
    if own is not None:
        return tuple(own)
    config = getattr(model, "config", {})
    channels, size = config.get("in_channels"), config.get("sample_size")
    if channels is not None and size is None:
        if takes(model, "img_ids") or takes(model, "img_shapes"):  # tokens of any number, as of Flux
            return None, int(channels)
        if is_network(model) and not _has_frames(model):
            return int(channels), None, None
    if channels is None or size is None:
        what = "latent" if is_network(model) else "point"
        example = "(channels, frames, height, width)" if _has_frames(model) else "(channels, height, width)"
        raise InputError(
            f"the shape of one {what} expected for {name_of(model)}, which does not say it; give `shape`, e.g. "
            f"shape={example}"
        )
    return (int(channels), *(int(side) for side in (size if isinstance(size, list | tuple) else (size, size))))


def _has_frames(model: Any) -> bool:
    """Whether a diffusers network denoises videos, as its class or the axes of its patches say."""
    patch = getattr(model, "config", {}).get("patch_size")
    return "3D" in type(model).__name__ or (isinstance(patch, list | tuple) and len(patch) == 3)


def name_of(model: Any) -> str:
    """What messages call a function or a network."""
    return str(getattr(model, "__name__", type(model).__name__))


def _called(model: Any) -> Callable[..., Any]:
    """What has the signature: `Module.__call__` takes anything."""
    return model.forward if isinstance(model, nn.Module) else model  # type: ignore[no-any-return]


def _binds(signature: inspect.Signature, *arguments: Any) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True
