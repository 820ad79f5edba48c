"""`measure_guidance`: a diffusion model guided by its local scaling, beside controls, into a run folder."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

import theodolite
from theodolite.descriptors import local_scaling
from theodolite.errors import InputError, path_of
from theodolite.maps import sampler_map
from theodolite.maps.loading import load
from theodolite.steering.guidance import Reward, random_direction
from theodolite.steering.properties import PROPERTIES
from theodolite.steering.reward import LearnedReward, fit_reward
from theodolite.steering.sweep import Sweep, sweep
from theodolite.surveys.guided_store import clear_guidance, write_guidance
from theodolite.surveys.guided_subject import Subject, subject_of
from theodolite.surveys.plan import verb_command
from theodolite.surveys.progress import Progress, silent
from theodolite.surveys.record import machine, now, versions
from theodolite.surveys.self_checked import self_checked
from theodolite.surveys.store import FORMAT, RunFolder, read_info, refuse_another_kind

__all__ = ["CONTROLS", "DEFAULTS", "measure_guidance"]

CONTROLS = (*PROPERTIES, "random")
"""What guidance by local scaling may be compared with."""

DEFAULTS: Mapping[str, Any] = {
    "rho": (-0.4, -0.2, 0.0, 0.2, 0.4),
    "control": ("contrast", "random"),
    "reward": None,
    "norm": "unit",
    "clean": 400,
    "training": 400,
    "samples": 64,
    "measured": 16,
    "steps": 12,
    "guidance": 1.5,
    "level": 0.1,
    "seed": 0,
    "subfolder": None,
    "revision": None,
    "device": None,
}
"""Settings of a guidance run."""

_GROUP, _CONDITIONS, _CHECKED_AT = 16, 8, 3


def measure_guidance(
    model: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    progress: Progress | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Fit a reward of local scaling to samples of a model, guide it at every scale, and measure what came of it.

    Args:
        model: a diffusion model that `theodolite.load` opens: of the zoo, or an unconditional pipeline.
        out: the run folder; a guidance run in it is replaced.
        progress: called with (steps done, steps in all, what was done last).
        settings: `rho` (scales of either sign), `control` (some of `CONTROLS`), `reward` (a file that
            `LearnedReward.save` wrote, in place of a training), `norm` (``unit`` or ``raw``), `clean` (samples that
            rewards are fitted to), `training` (steps), `samples` (a scale), `measured` (of these, how many local
            scaling is measured at), `steps` (of the sampler), `guidance` (classifier-free, of the zoo's models),
            `level` (of a pixel model: noise in units of the data at which the denoiser is the map), `seed`, `subfolder`
            and `revision` (as for `load`), `device`.

    Returns:
        The content of `run.json`.

    Raises:
        InputError: before long work: no diffusion model, unknown settings or controls, a reward of another shape, a
            map of local scaling that cannot be differentiated.
        KeyboardInterrupt: on Ctrl-C; the reward is kept once the controls are fitted too, and so is all that was
            measured of the rewards that were done at every scale.
    """
    if unknown := set(settings) - set(DEFAULTS):
        raise InputError(f"settings {', '.join(DEFAULTS)} expected, got {', '.join(sorted(unknown))}")
    asked = {**DEFAULTS, **settings}
    folder = RunFolder(path_of(out, "the run folder"))
    if folder.check():
        refuse_another_kind(folder.path, "guide")
    _check(asked)
    subject = subject_of(load(model, **{name: asked[name] for name in ("subfolder", "revision", "device")}), asked)
    reward = None if asked["reward"] is None else _loaded(asked["reward"], subject)
    check = self_checked(subject.map, subject.noise(_CHECKED_AT, asked["seed"]), subject.name)
    info = {**_record(os.fspath(model), subject, asked, folder.path), "self_check": check.as_dict()}
    folder.make()
    with folder.locked():
        folder.tidy()
        try:
            folder.write_info({**info, "status": "running"})
            clear_guidance(folder)
            if reward is not None:  # it may be the one that was there
                reward.save(folder.path / "reward.safetensors")
            info = _measured(folder, info, subject, reward, asked, progress or silent)
        except BaseException:
            folder.write_info({**read_info(folder.path), "status": "interrupted"})
            raise
    return info


def _measured(
    folder: RunFolder,
    info: dict[str, Any],
    subject: Subject,
    reward: LearnedReward | None,
    asked: Mapping[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    scales = {0.0, *asked["rho"]}
    learnt = [name for name in asked["control"] if name in PROPERTIES]
    groups = 0 if reward is not None else math.ceil(asked["clean"] / _GROUP)
    runs = 1 + (len(scales) - 1) * (1 + len(asked["control"]))
    steps = _Steps(progress, groups + (reward is None) + len(learnt) + runs)
    rewards = dict(_rewards(subject, reward, learnt, asked, steps))
    rewards["scaling"].save(folder.path / "reward.safetensors")
    noise = subject.noise(asked["samples"], asked["seed"] + 1)
    options = subject.options(len(noise), asked, min(_CONDITIONS, max(1, len(noise) // 4)))
    chosen: dict[str, Reward] = {**rewards}
    if "random" in asked["control"]:
        chosen["random"] = random_direction(len(noise), subject.shape, generator=asked["seed"], like=rewards["scaling"])
    info = {**info, "levels": list(rewards["scaling"].levels), "held_out": _held_out(rewards)}

    def finished(found: Sweep) -> None:
        write_guidance(folder, info, found, subject.decode, "running")

    found = sweep(
        subject.model,
        subject.map,
        chosen,
        asked["rho"],
        noise,
        subject.judge(options, asked["seed"]),
        steps=asked["steps"],
        norm=asked["norm"],
        measured=asked["measured"],
        progress=lambda done, total, what: steps.tell(what),
        finished=finished,
        levels=rewards["scaling"].levels,
        **options,
    )
    return write_guidance(folder, info, found, subject.decode, "complete")


def _held_out(rewards: Mapping[str, LearnedReward]) -> dict[str, Any]:
    """How each reward ranked samples it was not trained on, by noise level."""
    return {
        name: {"sigma": one.record.sigmas, "spearman": one.record.spearman, "stderr": one.record.stderr}
        for name, one in rewards.items()
        if one.record is not None
    }


def _rewards(
    subject: Subject, reward: LearnedReward | None, learnt: list[str], asked: Mapping[str, Any], steps: _Steps
) -> Iterator[tuple[str, LearnedReward]]:
    """The reward of local scaling, and those of plain properties of images, from the same clean samples."""
    clean = torch.empty(0)
    if reward is None or learnt:
        noise = subject.noise(asked["clean"], asked["seed"])
        with torch.no_grad():
            clean = sampler_map(subject.model, asked["steps"], **subject.options(len(noise), asked, None))(noise)
            images = subject.decode(clean)
    if reward is None:
        psi = []
        for part in clean.split(_GROUP):
            psi.append(local_scaling(subject.map, part, generator=asked["seed"]).value)
            steps.tell("local scaling")
        reward = fit_reward(clean, torch.cat(psi), steps=asked["training"], generator=asked["seed"])
        steps.tell("reward")
    yield "scaling", reward
    for name in learnt:
        target = PROPERTIES[name](images).double()
        yield name, fit_reward(clean, target, steps=asked["training"], generator=asked["seed"])
        steps.tell(f"reward of {name}")


class _Steps:
    """Progress over steps of about the same length."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0
        progress(0, total, "")

    def tell(self, what: str) -> None:
        """A step is done."""
        self.done += 1
        self.progress(self.done, self.total, what)


def _loaded(path: str, subject: Subject) -> LearnedReward:
    reward = LearnedReward.load(path, device=subject.device)
    if reward.shape != subject.shape:
        raise InputError(
            f"a reward of points {subject.shape} expected, {path} holds one of {reward.shape}; fit another"
        )
    return reward


def _check(asked: Mapping[str, Any]) -> None:
    if not any(rho for rho in asked["rho"]) or not all(math.isfinite(rho) for rho in asked["rho"]):
        raise InputError(f"`rho` expected as finite scales, one at least besides zero, got {list(asked['rho'])}")
    if unknown := set(asked["control"]) - set(CONTROLS):
        raise InputError(f"controls among {', '.join(CONTROLS)} expected, got {', '.join(sorted(unknown))}")
    for name, least in (("clean", 40), ("training", 1), ("samples", 8), ("measured", 3), ("steps", 1)):
        if not isinstance(asked[name], int) or asked[name] < least:
            raise InputError(f"`{name}` expected to be a whole number, {least} or more, got {asked[name]!r}")
    if not math.isfinite(asked["guidance"]):
        raise InputError(f"`guidance` expected to be a finite number, got {asked['guidance']!r}; 1 stands for none")
    if not 0 < asked["level"] < math.inf:
        raise InputError(f"`level` expected to be a noise level above zero and finite, got {asked['level']!r}")
    if asked["norm"] not in ("unit", "raw"):
        raise InputError(f"`norm` expected to be unit or raw, got {asked['norm']!r}")


def _record(model: str, subject: Subject, asked: Mapping[str, Any], out: Path) -> dict[str, Any]:
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()}
    return {
        "format": FORMAT,
        "kind": "guide",
        "theodolite": theodolite.__version__,
        "command": verb_command("guide", [model], out, asked, DEFAULTS),
        "created": now(),
        "settings": plain,
        "model": {"name": subject.name, "shape": list(subject.shape), "map": subject.map.name},
        "versions": versions(),
        "machine": machine(subject.device),
    }
