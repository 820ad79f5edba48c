"""A setting of an experiment, declared once: default, check, option, argument in Python, line of help and record."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, Literal

from theodolite.errors import InputError

__all__ = [
    "BUDGET",
    "CONDITION",
    "DATA",
    "DEVICE",
    "DRAWS",
    "DTYPE",
    "ETA",
    "GROUP",
    "GUIDANCE",
    "LATENTS",
    "LIMIT",
    "LOADING",
    "MAP",
    "MODEL",
    "OF_DIFFUSION",
    "OF_MAPS",
    "OF_SAMPLERS",
    "ONLY",
    "REVISION",
    "SEED",
    "SIGMA",
    "SIZE",
    "STEPS",
    "SUBFOLDER",
    "UNCONDITIONAL",
    "AnyObject",
    "Argument",
    "Setting",
    "checked_settings",
    "closest",
    "split_list",
]

Role = Literal["measures", "judges", "places"]


@dataclass(frozen=True)
class Argument:
    """What an experiment is about: it stands before the options on the command line, and first in Python.

    Attributes:
        name: in Python and in `run.json`.
        help: one sentence.
        many: takes one or more.
    """

    name: str
    help: str
    many: bool = False


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of an experiment.

    Attributes:
        name: in Python and in `run.json`; on the command line with dashes.
        help: one sentence, for `--help` and for the docstring.
        default: of every value that is left out.
        kind: ``str``, ``int``, ``float`` or ``bool``.
        least: the smallest number that is taken.
        above: a number that values must exceed.
        most: the largest number that is taken.
        choices: the words that are taken, or a function that lists them (called when the setting is checked or its
            help is printed, so that a list that costs an import is made only then).
        many: a list; on the command line separated by commas, or the option given again.
        each: entries that belong together: a list of so many numbers each.
        different: a list that is not empty and whose entries differ, numbers in six digits.
        required: it has no default.
        instead: of a required one, other settings that may stand in its place: exactly one of all is given.
        zero_means_none: 0 on the command line, or in Python, stands for None, e.g. for "no limit".
        metavar: what help calls the value.
        role: ``measures`` where another value gives other numbers; ``judges`` where it only decides what follows from
            the measured ones, so that a run may change it without being measured again; ``places`` where it says where
            things are and changes no number.
        check: says what else is wrong with a value: takes it, returns it or raises `InputError`.
    """

    name: str
    help: str
    default: Any = None
    kind: type = str
    least: float | None = None
    above: float | None = None
    most: float | None = None
    choices: Sequence[str] | Callable[[], Sequence[str]] = ()
    many: bool = False
    each: int = 1
    different: bool = False
    required: bool = False
    instead: tuple[str, ...] = ()
    zero_means_none: bool = False
    metavar: str | None = None
    role: Role = "measures"
    check: Callable[[Any], Any] | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The words that are taken; empty where any is."""
        return tuple(self.choices() if callable(self.choices) else self.choices)

    def checked(self, value: Any) -> Any:
        """The value with the types of JSON.

        Raises:
            InputError: it is not what is expected.
        """
        if self.zero_means_none and isinstance(value, str):
            value = _parsed(value)
        if value is None or (self.zero_means_none and not isinstance(value, bool) and value == 0):
            value = None
        elif self.many:
            value = self._list(value)
        else:
            value = self._single(value)
        if value is None and self.required and not self.instead:
            raise InputError(f"`{self.name}` expected, got none: {self.help}")
        return value if self.check is None or value is None else self.check(value)

    def _list(self, value: Any) -> list[Any]:
        if isinstance(value, str | os.PathLike):
            value = split_list(os.fspath(value))
        if not isinstance(value, Iterable):
            raise InputError(f"`{self.name}` expected to be a list, got {value!r}; separate its entries by commas")
        flat = [part for item in value for part in (item if isinstance(item, list | tuple) else [item])]
        entries = [self._single(item) for item in flat]
        if len(entries) % self.each:
            raise InputError(f"`{self.name}` expected {self.each} numbers each, got {len(entries)} in all: {entries}")
        if self.different and not 0 < len(entries) == len({f"{e:g}" if self.kind is float else e for e in entries}):
            entered = ", ".join(map(str, entries)) or "none"
            raise InputError(f"`{self.name}` expected one or more different entries, got {entered}")
        if self.each == 1:
            return entries
        return [entries[start : start + self.each] for start in range(0, len(entries), self.each)]

    def _single(self, value: Any) -> Any:
        if self.kind is str:
            return self._word(value)
        if self.kind is bool:
            if not isinstance(value, bool):
                raise InputError(f"`{self.name}` expected to be true or false, got {value!r}")
            return value
        return self._number(value)

    def _word(self, value: Any) -> str:
        text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
        choices = self.words
        if text.removeprefix("torch.") in choices:  # torch.float32 itself
            return text.removeprefix("torch.")
        if choices and text not in choices:
            raise InputError(
                f"`{self.name}` expected to be one of {', '.join(choices)}, got {text!r}{closest(text, choices)}"
            )
        return text

    def _number(self, value: Any) -> float | int:
        if isinstance(value, str):
            value = _parsed(value)
        number_type = Integral if self.kind is int else Real
        what = "a whole number" if self.kind is int else "a finite number"
        wrong = isinstance(value, bool) or not isinstance(value, number_type) or not _is_finite(value)
        if wrong or not self._inside(value):
            raise InputError(f"`{self.name}` expected to be {what}{self._bounds()}, got {value!r}")
        return self.kind(value)

    def _inside(self, value: float) -> bool:
        low = self.least is None or value >= self.least
        return low and (self.above is None or value > self.above) and (self.most is None or value <= self.most)

    def _bounds(self) -> str:
        parts = [] if self.least is None else [f"{self.least:g} or more"]
        parts += [] if self.above is None else [f"above {self.above:g}"]
        parts += [] if self.most is None else [f"{self.most:g} or less"]
        text = f", {' and '.join(parts)}" if parts else ""
        return f"{text}, or 0" if self.zero_means_none else text

    def as_words(self, value: Any) -> list[str]:
        """The value as the command line takes it; empty where it is the default."""
        if value == self.checked_default():
            return []
        option = f"--{self.name.replace('_', '-')}"
        if value is None:
            return [option, "0"] if self.zero_means_none else []
        if self.kind is bool:
            return [option] if value else [f"--no-{self.name.replace('_', '-')}"]
        return [option, self.as_text(value)]

    def as_text(self, value: Any) -> str:
        """The value in one word: entries of a list between commas."""
        if not self.many:
            return _text(value)
        flat = [item for entry in value for item in (entry if isinstance(entry, list) else [entry])]
        return ",".join(_text(item).replace(",", r"\,") for item in flat)

    def checked_default(self) -> Any:
        """The default with the types of JSON; None of a required setting."""
        return [*self.default] if self.many and self.default is not None else self.default


class AnyObject(Setting):
    """A setting of text on the command line and of any object in Python, e.g. a model or a function.

    It is taken as it is, and read by what opens the experiment; `run.json` has its text.
    """

    def checked(self, value: Any) -> Any:
        """The value, unchanged."""
        return value


def checked_settings(settings: Sequence[Setting], given: Mapping[str, Any], of: str) -> dict[str, Any]:
    """Every setting by name: what was given, checked, otherwise its default.

    Args:
        settings: of the experiment.
        given: by name.
        of: what the experiment is called.

    Raises:
        InputError: an unknown name, or a value that is not what is expected.
    """
    names = [setting.name for setting in settings]
    for name in given:
        if name not in names:
            raise InputError(f"unknown setting {name!r} of {of}{closest(name, names)}; known are {', '.join(names)}")
    checked = {setting.name: setting.checked(given.get(setting.name, setting.default)) for setting in settings}
    for setting in (setting for setting in settings if setting.instead):
        ways = (setting.name, *setting.instead)
        present = [name for name in ways if checked[name] is not None]
        if len(present) != 1:
            number = ("both" if len(ways) == 2 else " and ".join(present)) if present else "neither"
            raise InputError(f"{' or '.join(f'`{way}`' for way in ways)} expected, got {number}: {setting.help}")
    return checked


def closest(name: Any, known: Sequence[str]) -> str:
    """The words ``, did you mean 'x'?`` where a known name is close to `name`, otherwise nothing."""
    close = difflib.get_close_matches(str(name), known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def split_list(text: str) -> list[str]:
    r"""The entries of a list as the command line takes it: separated by commas; ``\,`` is a comma inside one.

    Example:
        >>> split_list(r"a.png, b\,c.png")
        ['a.png', 'b,c.png']
    """
    return [part.replace(r"\,", ",").strip() for part in re.split(r"(?<!\\),", text) if part.strip()]


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _parsed(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:g}" if float(f"{value:g}") == value else f"{value:.17g}"


MODEL = Argument("model", "A folder, a hub id, zoo:NAME, or package.module:factory; see `theodolite survey --help`.")
DATA = Setting(
    name="data",
    help="Folder of images, with its subfolders; or a file of many: zip, tar, Parquet, Arrow, npz.",
    required=True,
    metavar="FOLDER",
    role="places",
)
LATENTS = Setting(
    name="latents",
    help="Instead of --data: seed:0..63 for standard normal latents, or a .safetensors file with one tensor "
    "(n, *latent).",
    metavar="SEEDS|FILE",
    role="places",
)
MAP = Setting(
    name="map",
    help="Which of the model's maps; by default its decoder or generator, its denoiser at images, its sampler at "
    "latents.",
    choices=("decoder", "encoder", "generator", "denoiser", "sampler"),
)
SIGMA = Setting(
    name="sigma",
    help="Noise level of a denoiser, in the units of its points: images in [-1, 1], or latents.",
    kind=float,
    above=0.0,
)
STEPS = Setting(name="steps", help="Of a sampler; 10 by default.", kind=int, least=1)
GUIDANCE = Setting(
    name="guidance", help="Of a denoiser or sampler: 1 is the conditional network alone, the default.", kind=float
)
CONDITION = Setting(
    name="condition",
    help="Of a denoiser or sampler: a class, e.g. 207, or a .safetensors file of embeddings; of nothing in particular "
    "by default.",
    metavar="CLASS|FILE",
)
UNCONDITIONAL = Setting(
    name="unconditional",
    help="What guidance starts from: a class, or a .safetensors file of embeddings, of text models that of the empty "
    "prompt; nothing in particular by default, where the model knows it.",
    metavar="CLASS|FILE",
)
ETA = Setting(
    name="eta",
    help="Of a DDIM sampler (all but those of other schedulers), the share of DDPM's noise; by default none, or what "
    "its scheduler does.",
    kind=float,
)
DRAWS = Setting(
    name="draws",
    help="Seed of the noise that a sampler draws on its way, the same for every latent; 0 by default.",
    kind=int,
)
OF_DIFFUSION = (STEPS, GUIDANCE, CONDITION, UNCONDITIONAL, ETA, DRAWS)
"""What a denoiser or a sampler is told."""
OF_MAPS = (MAP, SIGMA, *OF_DIFFUSION)
"""Which map of a model is measured, and what it is told."""
SCALE = Setting(
    name="scale", help="Guidance of a sampler: 1 is the conditional network alone, the default.", kind=float
)
SAMPLER_STEPS = Setting(name="sampler_steps", help="Of a sampler; 10 by default.", kind=int, least=1)
OF_SAMPLERS = (
    replace(CONDITION, help=CONDITION.help.replace("denoiser or sampler", "sampler")),
    SCALE,
    UNCONDITIONAL,
    SAMPLER_STEPS,
    ETA,
    DRAWS,
)
"""What a sampler is told by verbs that have other steps, or several scales of guidance."""
LIMIT = Setting(
    name="limit",
    help="Images of each folder, drawn at random by the seed, from its sources and sub-folders in turn; 0 for all.",
    default=24,
    kind=int,
    least=1,
    zero_means_none=True,
    metavar="N",
)
ONLY = Setting(
    name="only",
    help="Only these samples, by the names that they have in runs; `theodolite explore` writes the command for a "
    "selection.",
    many=True,
    metavar="SAMPLE",
    role="places",
)
SIZE = Setting(
    name="size",
    help="Centre square, resized to so many pixels; by default what the model takes.",
    kind=int,
    least=1,
    # one image is then 3 GB in float32: a slip of a zero is refused before any memory is taken
    most=16_384,
    metavar="PIXELS",
)
BUDGET = Setting(
    name="budget",
    help="Work a sample may cost: the more, the smaller the errors.",
    default="standard",
    choices=("quick", "standard", "full"),
)
GROUP = Setting(
    name="group",
    help="Regular expression for the part of a file's path that tells its source photograph: its first group, or all "
    "of the match. By default the name before crop coordinates: cat_0128_0256.png is from cat.",
    metavar="REGEX",
    role="judges",
)
SEED = Setting(name="seed", help="Of every random draw.", default=0, kind=int)
DEVICE = Setting(name="device", help="As in torch, e.g. cuda or cuda:1; cpu by default.", role="places")
DTYPE = Setting(
    name="dtype", help="By default as stored, half precision up-cast to float32.", choices=("float32", "float64")
)
SUBFOLDER = Setting(name="subfolder", help="Of the model's folder or hub repository, e.g. vae or unet.", role="places")
REVISION = Setting(name="revision", help="Of the hub repository.", role="places")
LOADING = (DEVICE, DTYPE, SUBFOLDER, REVISION)
"""How a model that is named is loaded."""
