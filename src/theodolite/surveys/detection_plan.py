"""What `detect` will do: folders and scores, checked; a decoder or a denoiser; and the plan of its survey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError, path_of
from theodolite.surveys.plan import Plan, make_plan, usual_size

if TYPE_CHECKING:
    from theodolite.maps import Autoencoder
    from theodolite.surveys.noised import Noised

__all__ = ["HEADLINE", "asked_of", "planned", "subject_of"]

HEADLINE = "departure"
"""The score that orders the images when none is chosen."""

_LEFT_OUT = ("curvature", "denoising_error")
"""Scores of a decoder that are left out by default: curvature costs as much as all others together."""

_OF_DENOISERS = (
    "local_scaling",
    "local_rank",
    "local_complexity",
    "leading_singular_value",
    "denoising_error",
    "score_norm",
    "nearest_neighbour",
    "pixel_energy",
)
"""Scores of a denoiser by default: what one spectrum gives at every noise level, and baselines."""

_FOREIGN = {
    "denoiser": ("negative_log_likelihood", "reconstruction_error"),
    "decoder": ("denoising_error",),
}
"""Scores that such a model does not have."""

_LEVEL_FREE = ("nearest_neighbour", "pixel_energy")


def asked_of(model: Any, reference: Any, test: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """How images will be judged and what will be measured, as far as it does not depend on the model.

    Raises:
        InputError: folders, scores, a level or noise levels that cannot be used.
    """
    from theodolite.descriptors.registry import REGISTRY
    from theodolite.detection.scores import checked_scores
    from theodolite.surveys.noised import checked_levels, name_of

    folders = [path_of(reference, "the reference folder"), path_of(test, "the test folder")]
    if folders[0].resolve() == folders[1].resolve():
        raise InputError(f"two folders expected, got {folders[0]} as reference and as test; give other images to judge")
    asked = given["scores"]
    if isinstance(asked, str):
        asked = [name.strip() for name in asked.split(",") if name.strip()]
    level = given["level"]
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise InputError(f"`level` expected between 0 and 1, got {level!r}; 0.95 flags one reference image in twenty")
    checked_levels(given["sigma"])
    settings = {
        "model": name_of(model),
        "data": str(folders[0]),
        **{name: given[name] for name in ("limit", "size", "budget", "seed", "subfolder", "revision")},
        "device": None if given["device"] is None else str(given["device"]),
        "dtype": None if given["dtype"] is None else str(given["dtype"]).removeprefix("torch."),
    }
    make_plan(settings, list(REGISTRY))  # what is wrong with them is told before a model is loaded
    evaluation = {
        "reference": str(folders[0]),
        "test": str(folders[1]),
        "labels": None if given["labels"] is None else str(path_of(given["labels"], "the labels file")),
        "labelled": None,
        "scores": None if asked is None else checked_scores(asked),
        "score": given["score"],
        "level": float(level),
        "group": given["group"],
    }
    return evaluation, settings


def subject_of(model: Any, settings: Mapping[str, Any], given: Mapping[str, Any]) -> Autoencoder | Noised:
    """The decoder or the denoiser that is measured.

    Raises:
        InputError: no such model, or noise levels with a decoder.
    """
    from theodolite.maps import Autoencoder
    from theodolite.surveys.noised import checked_levels, noised, opened

    found = opened(model, {name: settings[name] for name in ("subfolder", "revision", "device", "dtype")})
    if not isinstance(found, Autoencoder):
        levels = {"sigmas": checked_levels(given["sigma"]), "output": given["output"] or "eps"}
        return noised(found, {**levels, "condition": given["condition"]})
    for name in ("sigma", "output", "condition"):
        if given[name] is not None:
            raise InputError(
                f"--{name} belongs to a denoiser, and {found.name} is an autoencoder, whose decoder has no noise "
                "levels; leave it out, or give a diffusion model (of a pipeline's folder with --subfolder unet)"
            )
    return found


def _levels(subject: Autoencoder | Noised) -> dict[str, Any]:
    """What a denoiser's run records beside a survey's settings."""
    from theodolite.data.conditions import word_of
    from theodolite.surveys.noised import Noised

    if not isinstance(subject, Noised):
        return {}
    condition = None if subject.condition is None else word_of(subject.condition)
    return {"sigmas": list(subject.sigmas), "output": subject.output, "condition": condition}


def planned(subject: Autoencoder | Noised, settings: Mapping[str, Any], evaluation: dict[str, Any]) -> Plan:
    """What will be measured of each image; writes the scores into `evaluation`.

    Raises:
        InputError: scores that this model does not have.
    """
    from theodolite.descriptors.registry import REGISTRY
    from theodolite.detection.scores import descriptors_for
    from theodolite.surveys.noised import Noised, view_of

    kind = "denoiser" if isinstance(subject, Noised) else "decoder"
    names = _scores(kind, evaluation["scores"])
    known = _levelled(names, subject.sigmas) if isinstance(subject, Noised) else names
    headline = evaluation["score"]
    if headline not in (HEADLINE, *known):
        raise InputError(f"`score` expected to be {HEADLINE} or one of {', '.join(known)}, got {headline!r}")
    descriptors = descriptors_for(names)
    if not descriptors:
        raise InputError(f"a score of the {kind}'s geometry expected among scores, got only {', '.join(names)}")
    evaluation["scores"] = names
    plan = make_plan({**settings, "descriptors": descriptors}, list(REGISTRY))
    size = usual_size(view_of(subject), plan.settings["size"])
    return replace(plan, settings={**plan.settings, **_levels(subject), "size": size})


def _scores(kind: str, asked: Sequence[str] | None) -> list[str]:
    from theodolite.detection.scores import SCORES

    default = _OF_DENOISERS if kind == "denoiser" else [name for name in SCORES if name not in _LEFT_OUT]
    names = [name for name in SCORES if name in (default if asked is None else asked)]
    wrong = [name for name in names if name in _FOREIGN[kind]]
    if wrong:
        raise InputError(f"scores of a {kind} expected, got {wrong[0]}, which it does not have; leave it out")
    return names


def _levelled(names: Sequence[str], sigmas: Sequence[float]) -> list[str]:
    """The names of scores over noise levels."""
    from theodolite.detection.scores import at_level

    levelled = [at_level(name, sigma) for name in names if name not in _LEVEL_FREE for sigma in sigmas]
    return [*levelled, *(name for name in names if name in _LEVEL_FREE)]
