"""What a survey will do: its settings, checked, and how two configurations differ."""

from __future__ import annotations

import difflib
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError

if TYPE_CHECKING:
    from theodolite.descriptors.effort import Effort
    from theodolite.maps import Autoencoder

__all__ = [
    "Plan",
    "closest",
    "differences",
    "make_plan",
    "sample_seed",
    "usual_size",
    "verb_command",
]

_BY_CONTENT = ("model", "data")

_SMALLEST = 32
"""Side of the images of a model that takes any."""

_DEFAULTS: Mapping[str, Any] = {
    "limit": None,
    "size": None,
    "budget": "standard",
    "rtol": None,
    "descriptors": None,
    "seed": 0,
    "device": None,
    "dtype": None,
    "subfolder": None,
    "revision": None,
}
"""Of a survey's settings, all but `model` and `data`."""


@dataclass(frozen=True)
class Plan:
    """A survey's settings, checked and complete.

    Attributes:
        settings: as in `run.json`; `descriptors` lists every descriptor to measure, in the order of the registry.
        effort: what the budget's name stands for.
        everything: whether all known descriptors are measured.
    """

    settings: Mapping[str, Any]
    effort: Effort
    everything: bool

    @property
    def descriptors(self) -> tuple[str, ...]:
        """Names of the descriptors to measure."""
        return tuple(self.settings["descriptors"])

    @property
    def seed(self) -> int:
        """The seed of the whole survey."""
        return int(self.settings["seed"])

    def effort_as_dict(self) -> dict[str, Any]:
        """The effort with JSON's types; what is None is left out."""
        given = {name: value for name, value in asdict(self.effort).items() if value is not None}
        return dict(json.loads(json.dumps(given)))

    def command(self, out: Path) -> str:
        """The command line that repeats, and so resumes, this survey."""
        words = ["theodolite", "survey", self.settings["model"], "--data", self.settings["data"], "--out", str(out)]
        for name in (name for name in _DEFAULTS if name != "descriptors"):
            value = self.settings[name]
            if value != _DEFAULTS[name]:
                words += [f"--{name}", str(value)]
        if not self.everything:
            words += ["--descriptors", ",".join(self.descriptors)]
        return shlex.join(words)


def make_plan(settings: Mapping[str, Any], known: Sequence[str]) -> Plan:
    """Check the settings of a survey and fill in what was left out; `known` are the names of the registry.

    Raises:
        InputError: an unknown setting, budget or descriptor, a `limit` or `size` that is no positive whole number, a
            `seed` that is no whole number, an `rtol` that is no small positive number.
    """
    from theodolite.descriptors.effort import EFFORTS  # here: it costs a tensor library, and reading a run needs none

    allowed = [*_BY_CONTENT, *_DEFAULTS]
    for name in settings:
        if name not in allowed:
            raise InputError(f"unknown setting {name!r} of a survey{closest(name, allowed)}; known are {allowed}")
    settings = {**_DEFAULTS, **settings}
    budget = settings["budget"]
    if not isinstance(budget, str) or budget not in EFFORTS:
        raise InputError(
            f"budget expected to be one of {', '.join(EFFORTS)}, got {budget!r}{closest(budget, list(EFFORTS))}; "
            "leave it out for standard"
        )
    whole = {name: _whole(name, settings[name]) for name in ("limit", "size") if settings[name] is not None}
    for name, value in whole.items():
        if value < 1:
            raise InputError(f"{name} expected to be a positive number, got {value}; leave it out for no {name}")
    chosen = _chosen(settings["descriptors"], known)
    checked = {**settings, **whole, "seed": _whole("seed", settings["seed"]), "descriptors": chosen}
    return Plan(checked, replace(EFFORTS[budget], rtol=settings["rtol"]), chosen == list(known))


def verb_command(
    verb: str, words: Sequence[str], out: Path, settings: Mapping[str, Any], defaults: Mapping[str, Any]
) -> str:
    """The command line that repeats a run: settings that differ from their defaults, a list as a repeated option."""
    parts = ["theodolite", verb, *words, "--out", str(out)]
    for name, value in settings.items():
        if value == defaults.get(name):
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            parts += [f"--{name.replace('_', '-')}", str(one)]
    return shlex.join(parts)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(
            f"{name} expected to be a whole number, got {value!r} ({type(value).__name__}); give an int, e.g. {name}=8"
        )
    return int(value)


def _chosen(descriptors: str | Sequence[str] | None, known: Sequence[str]) -> list[str]:
    if descriptors is None:
        return list(known)
    if isinstance(descriptors, str):
        descriptors = [name.strip() for name in descriptors.split(",") if name.strip()]
    if not isinstance(descriptors, Sequence | Set):
        raise InputError(f"descriptors expected to be names, got {descriptors!r}; known are {', '.join(known)}")
    if not descriptors:
        raise InputError(f"at least one descriptor expected, got none; known are {', '.join(known)}")
    for name in descriptors:
        if name not in known:
            raise InputError(f"unknown descriptor {name!r}{closest(name, known)}; known are {', '.join(known)}")
    return [name for name in known if name in descriptors]


def closest(name: Any, known: Sequence[str]) -> str:
    """The words ``, did you mean 'x'?`` where a known name is close to `name`, otherwise nothing."""
    close = difflib.get_close_matches(str(name), known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def sample_seed(seed: int, sample: str) -> int:
    """The seed of one sample, below 2**63; it depends on the survey's seed and the sample's id only.

    Example:
        >>> sample_seed(0, "cat") == sample_seed(0, "cat") != sample_seed(1, "cat")
        True
    """
    digest = hashlib.sha256(f"{seed}:{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What separates the configurations of two `run.json`, one phrase a difference; empty when they agree.

    The model and the images are compared by content (fingerprint, hashes), whatever path led to them.
    """
    settings = there.get("settings") or {}
    pairs = [(name, settings.get(name), value) for name, value in here["settings"].items() if name not in _BY_CONTENT]
    pairs.append(("kind", there.get("kind", "survey"), here.get("kind", "survey")))
    pairs.append(("model fingerprint", (there.get("model") or {}).get("fingerprint"), here["model"]["fingerprint"]))
    pairs.append(("theodolite", there.get("theodolite"), here["theodolite"]))
    if settings.get("budget") == here["settings"]["budget"]:
        pairs.append(("effort", there.get("effort"), here["effort"]))
    found = [f"{name} {_shown(old)} there, {_shown(new)} here" for name, old, new in pairs if old != new]
    return found + _image_differences(there["data"]["files"], here["data"]["files"])


def _shown(value: Any) -> str:
    if value is None:
        return "unset"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _image_differences(there: Sequence[Mapping[str, str]], here: Sequence[Mapping[str, str]]) -> list[str]:
    old = {entry["sample"]: entry["sha256"] for entry in there}
    new = {entry["sample"]: entry["sha256"] for entry in here}
    counts = {
        "missing here": len(old.keys() - new.keys()),
        "not there": len(new.keys() - old.keys()),
        "changed": sum(old[sample] != new[sample] for sample in old.keys() & new.keys()),
    }
    words = [f"{count} {what}" for what, count in counts.items() if count]
    return [f"images {', '.join(words)}"] if words else []


def usual_size(autoencoder: Autoencoder, size: int | None) -> int:
    """The side of images that is asked for; otherwise what the model takes, or four latents, at least 32 pixels."""
    if size is not None:
        return size
    return min(autoencoder.image_size) if autoencoder.image_size else max(_SMALLEST, 4 * autoencoder.downsampling)
