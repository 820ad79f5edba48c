"""What a conditional diffusion model is asked for: the model, its conditions as text, and its samples as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError, path_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from theodolite.maps.denoising import BaseDenoiser

__all__ = [
    "EMBEDDINGS",
    "MODEL",
    "SIDES",
    "Prompted",
    "condition_of",
    "pictures_of",
    "prompts_of",
    "text_of",
    "value_of",
    "word_of",
]

MODEL = "zoo:coloured-latent"
"""The model of the demonstrations."""

EMBEDDINGS = ".safetensors"
"""How the name of a file of embeddings ends."""

SIDES = ("normal", "unusual")
"""Of a pair of conditions."""


def condition_of(text: str) -> Any:
    """``207`` is a class; ``3-red`` a digit in a colour, ``3-red+8-red`` the mean of two.

    Raises:
        InputError: the text is none of these.
    """
    if "+" in text:
        mixed = tuple(condition_of(part) for part in text.split("+"))
        if not all(isinstance(part, tuple) for part in mixed):
            raise InputError(f"a mix of the zoo's conditions expected, e.g. 3-red+8-red, got {text.strip()!r}")
        return mixed
    first, dash, second = text.strip().partition("-")
    if not first.isdecimal():
        raise InputError(f"a condition expected to be a class, e.g. 207, or of the zoo as 3-red, got {text.strip()!r}")
    return (int(first), second) if dash else int(first)


def value_of(condition: Any) -> Any:
    """What models are given: of text a condition that `condition_of` reads, or what a `.safetensors` file holds.

    Args:
        condition: text, or a condition, which stays as it is. One tensor of a file is an embedding,
            `(1, tokens, width)`; several are arguments of the network by name (`encoder_hidden_states`,
            `pooled_projections`): this is how models of text are measured, whose text encoder ran elsewhere.

    Raises:
        InputError: the file cannot be read, or the text is no condition.
    """
    if not isinstance(condition, str):
        return condition
    if not condition.endswith(EMBEDDINGS):
        return condition_of(condition)
    from safetensors.torch import load_file

    path = path_of(condition, "a condition")
    try:
        tensors = load_file(path)
    except Exception as error:  # the system's, or the format's own error type
        raise InputError(f"a safetensors file of embeddings expected in {path}, got: {error}") from error
    return next(iter(tensors.values())) if len(tensors) == 1 else tensors


def word_of(condition: Any) -> str:
    """A condition as `condition_of` reads it."""
    if isinstance(condition, tuple) and isinstance(condition[0], tuple):
        return "+".join(word_of(part) for part in condition)
    return "-".join(str(part) for part in condition) if isinstance(condition, tuple) else str(condition)


def prompts_of(model: Any, conditions: str | Sequence[tuple[Any, Any]] | None) -> list[tuple[Any, Any]]:
    """Pairs of a normal and an unusual condition, from text, from a list, or from what the model says was held out.

    Raises:
        InputError: none can be had, or the text says none.
    """
    if conditions is None:
        held_out = getattr(model, "held_out", ())
        if not held_out:
            raise InputError("conditions expected, since this model names none held out; e.g. --conditions 207/360")
        trained = {
            first: [condition for condition in model.conditions if condition[0] == first] for first, _ in held_out
        }
        return [
            (trained[condition[0]][index % len(trained[condition[0]])], condition)
            for index, condition in enumerate(held_out)
        ]
    if not isinstance(conditions, str):
        pairs = [tuple(pair) for pair in conditions]
    else:
        pairs = [tuple(map(_side_of, _sides_in(pair.strip()))) for pair in conditions.split(",") if pair.strip()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise InputError(
            "conditions expected as NORMAL/UNUSUAL,..., e.g. 3-red/3-yellow, 207/360 or a.safetensors/b.safetensors, "
            f"got {conditions}"
        )
    return [(pair[0], pair[1]) for pair in pairs]


def _sides_in(pair: str) -> list[str]:
    """Both sides of a pair: paths of files of embeddings may hold slashes of their own."""
    first, ends, second = pair.partition(f"{EMBEDDINGS}/")
    return [f"{first}{EMBEDDINGS}", second] if ends else pair.split("/")


def _side_of(text: str) -> Any:
    """A condition; of a file its path, once it was seen to be readable."""
    value = value_of(text)
    return text if text.endswith(EMBEDDINGS) else value


def text_of(prompts: Sequence[tuple[Any, Any]]) -> str:
    """Pairs of conditions as `prompts_of` reads them."""
    return ",".join("/".join(word_of(side) for side in pair) for pair in prompts)


class Prompted:
    """A diffusion model under pairs of conditions, which seeds take in turn.

    Args:
        model: loaded, as `theodolite.data.models.opened_denoiser` gives it.
        conditions: as for `prompts_of`.
        bare: take a model that names no conditions without any.
        unconditional: what guidance starts from, as text; what the model knows as nothing in particular by default.

    Attributes:
        model: the model.
        name: what reports call it.
        pairs: of a normal and an unusual condition; none of a bare model.

    Raises:
        InputError: as for `prompts_of`.
    """

    def __init__(self, model: Any, conditions: Any, *, bare: bool = False, unconditional: Any = None) -> None:
        self.model, self.unconditional = model, value_of(unconditional)
        self.name = str(getattr(self.model, "name", type(self.model).__name__))
        is_bare = bare and conditions is None and not getattr(self.model, "held_out", ())
        self.pairs = [] if is_bare else prompts_of(self.model, conditions)

    def sides(self, guidance: float) -> tuple[str | None, ...]:
        """Both sides; None alone where no condition has an effect."""
        return SIDES if self.pairs and guidance != 0 else (None,)

    def condition(self, seed: int, side: str | None) -> Any:
        """The condition of a seed on one side, the normal one by default; None of a bare model."""
        return self.pairs[seed % len(self.pairs)][SIDES.index(side or "normal")] if self.pairs else None

    def knows_start(self) -> bool:
        """Whether guidance has something to start from: of text that is given, or the condition's effect is unknown."""
        try:
            self.denoiser(0, None, 0.0)
        except InputError:
            return False
        return True

    def denoiser(self, seed: int, side: str | None, guidance: float) -> BaseDenoiser:
        """The guided denoiser of a seed on one side."""
        from theodolite.maps.denoisers import as_denoiser

        condition, guidance = value_of(self.condition(seed, side)), guidance if self.pairs else 1.0
        return as_denoiser(self.model, condition=condition, guidance=guidance, unconditional=self.unconditional)


def pictures_of(model: Any, points: Tensor) -> list[Image]:
    """Samples decoded by the model, where it has a decoder; none where they are no images."""
    from theodolite.data.pixels import picture

    decode = getattr(model, "decode", None)
    if decode is None:
        autoencoder = getattr(model, "autoencoder", None)
        decode = autoencoder.decode if autoencoder is not None else lambda points: points
    images = decode(points)
    return [picture(image) for image in images] if images.ndim == 4 and images.shape[1] in (1, 3) else []
