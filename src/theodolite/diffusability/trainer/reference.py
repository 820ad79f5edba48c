"""Reference trainings of several latent spaces side by side: how good samples get at each budget, with errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from theodolite.diffusability.trainer.judging import SampleJudge
from theodolite.diffusability.trainer.training import FlowTraining, TrainingPlan
from theodolite.errors import InputError
from theodolite.estimates import Estimate, joined
from theodolite.estimates.student import student_mean

__all__ = ["Entrant", "reference_trainings"]

_ONE_SEED = "one training: the error is that of its samples, and not how trainings differ; give more seeds"
_STOPPED = "stopped after {step} steps: its reconstructions are surely worse than what {best} generates already"
_SURE = 3.0
"""Standard errors between a reconstruction and the best samples from which a training stops: once in a thousand a sound
one, even among several models and checkpoints."""


@dataclass(frozen=True)
class Entrant:
    """A latent space that takes part.

    Attributes:
        latents: to train on, `(n, *latent)`, of about zero mean and unit variance an entry.
        held_out: latents of other images, at least as many as the judge's samples, whose reconstructions are judged.
        judge: of what latents decode to; the same features, reference and number of samples for all entrants.
    """

    latents: Tensor
    held_out: Tensor
    judge: SampleJudge


def reference_trainings(
    entrants: Mapping[str, Entrant],
    checkpoints: Sequence[int],
    *,
    plan: TrainingPlan | None = None,
    seeds: Sequence[int] = (0, 1),
    folder: str | Path | None = None,
    device: str | torch.device = "cpu",
    racing: bool = True,
    progress: Callable[[str, int, float], None] | None = None,
) -> dict[str, Estimate]:
    """The logarithm of the Frechet distance of samples (log gFD) at each checkpoint, for every latent space.

    All train the same network on the same budget. With racing, a space stops where the distance of its own
    reconstructions, which samples do not get below in practice, is surely above what another generates already. That a
    space is behind early in the training stops nothing: the order of latent spaces turns with the budget.

    Args:
        entrants: by name.
        checkpoints: steps, ascending; `plan.batch` times the steps is the budget in samples seen.
        plan: what is trained; the convolutional network by default.
        seeds: of trainings, each with weights, batches and samples of its own.
        folder: for states of training; what is there is gone on from. None to keep nothing.
        device: of the networks.
        racing: stop what surely loses.
        progress: called with name, step and log gFD after every checkpoint of a training.

    Returns:
        For every name an estimate `(len(checkpoints),)`; part `reconstruction`: the same of reconstructions (log rFD).
        With several seeds a mean over trainings with Student's interval, ``learned``; with one the bootstrap over
        samples, ``few-samples``. ``undetermined`` from where racing stopped it. Cost a training: three passes of the
        network a latent and step, `2 sampling_steps - 1` passes and a decoder pass a sample and checkpoint.

    Raises:
        InputError: no entrants, seeds or ascending checkpoints, or latents that cannot be trained on.
    """
    steps = _checked(entrants, checkpoints, seeds)
    runs = {name: _Runs(name, own, plan or TrainingPlan(), seeds, folder, device) for name, own in entrants.items()}
    for step in steps:
        for run in runs.values():
            if not run.stopped:
                run.reach(step, progress)
        if racing:
            _stop_losers(list(runs.values()), step)
    return {name: run.estimate(len(steps)) for name, run in runs.items()}


class _Runs:
    """The trainings of one latent space, one a seed, and what they came to so far."""

    def __init__(
        self,
        name: str,
        entrant: Entrant,
        plan: TrainingPlan,
        seeds: Sequence[int],
        folder: str | Path | None,
        device: str | torch.device,
    ) -> None:
        self.name, self.entrant, self.stopped = name, entrant, ""
        self.reconstruction = entrant.judge.reconstruction(entrant.held_out)
        self.reached: list[Estimate] = []
        self.trainings = [FlowTraining(entrant.latents, plan, seed, device) for seed in seeds]
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def reach(self, step: int, progress: Callable[[str, int, float], None] | None) -> None:
        """Train to a checkpoint and judge the samples there."""
        qualities = [self._quality(training, step) for training in self.trainings]
        self.reached.append(_over_seeds(qualities))
        if progress is not None:
            progress(self.name, step, self.reached[-1].item())

    def _quality(self, training: FlowTraining, step: int) -> Estimate:
        file = None
        if self.folder is not None:
            file = self.folder / f"{self.name}.seed{training.seed}.step{step}.safetensors"
        if file is not None and file.exists():
            training.resume(file)
        else:
            training.advance(step - training.step)
            if file is not None:
                training.save(file)
        return self.entrant.judge.generation(training, training.seed)

    def estimate(self, count: int) -> Estimate:
        """Of all checkpoints, those after a stop without a number."""
        missing = Estimate.of(math.nan, math.nan, statuses="undetermined", message=self.stopped)
        full = joined([*self.reached, *[missing] * (count - len(self.reached))])
        message = self.stopped or full.message
        return Estimate(
            full.value,
            full.stderr,
            full.passes,
            len(self.trainings),
            full.statuses,
            message,
            "reference training",
            {"reconstruction": self.reconstruction},
        )


def _over_seeds(qualities: Sequence[Estimate]) -> Estimate:
    if len(qualities) == 1:
        only = qualities[0]
        return Estimate.of(only.value, only.stderr, n=1, statuses="few-samples", message=_ONE_SEED)
    mean, stderr = student_mean(torch.stack([quality.value for quality in qualities]))
    return Estimate.of(mean, stderr, n=len(qualities), statuses="learned")


def _stop_losers(runs: Sequence[_Runs], step: int) -> None:
    """Stop those whose reconstructions are surely worse than the best samples at this step."""
    running = [run for run in runs if not run.stopped]
    best = min(running, key=lambda run: run.reached[-1].item())
    for run in running:
        ahead = run.reconstruction.item() - best.reached[-1].item()
        error = math.hypot(float(run.reconstruction.stderr), float(best.reached[-1].stderr))
        if run is not best and ahead > _SURE * error:
            run.stopped = _STOPPED.format(step=step, best=best.name)


def _checked(entrants: Mapping[str, Entrant], checkpoints: Sequence[int], seeds: Sequence[int]) -> list[int]:
    steps = list(checkpoints)
    if not entrants or not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"at least one latent space and different seeds expected, got {[*entrants]} and {[*seeds]}")
    if not steps or steps[0] < 1 or steps != sorted(set(steps)):
        raise InputError(f"`checkpoints` expected as ascending numbers of steps from 1 on, got {checkpoints}")
    return steps
