"""`--train`: reference trainings in the latents of every model, each a unit, and what follows from their seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError
from theodolite.runs.experiment import Piece, Row, Sitting, number
from theodolite.runs.settings import Setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from theodolite.estimates import Estimate
    from theodolite.maps import Autoencoder
    from theodolite.runs.run import Run

__all__ = ["TRAINING", "Training", "trained_rows", "trainings_of"]

_CHECKPOINTS = (500, 1000, 2000, 4000, 8000, 16000, 32000)
"""Steps after which samples are judged, as far as a training goes: those of the prediction study, and twice as many
each time."""

_SURE = 3.0
"""Standard errors from which reconstructions are surely worse than the best samples, as in `reference_trainings`."""


def _networks() -> Sequence[str]:
    from theodolite.diffusability.trainer import NETWORKS

    return [*NETWORKS]


def _steps(value: int) -> int:
    if value < 1:
        raise InputError(f"`train` expected to be a whole number of steps, 1 or more, or 0 for none, got {value}")
    return value


TRAINING = (
    Setting(
        name="train",
        help="Train a small flow model in the latents of every model for so many steps of 64 latents, and judge its "
        "samples beside the forecast. Half a minute for 2,000 steps of 4x8x8 latents on one CPU core; needs a hundred "
        "images, better thousands. 0 or nothing: none.",
        kind=int,
        zero_means_none=True,
        check=_steps,
        metavar="STEPS",
        role="judges",  # it adds units to a run and changes none
    ),
    Setting(
        name="network",
        help="Of --train, and of the forecast where the study has calibrated it.",
        default="convolutional",
        choices=_networks,
        role="judges",
    ),
    Setting(
        name="seeds",
        help="Of --train: trainings a model. A second one is left out where reconstructions are surely worse already "
        "than what another model generates.",
        default=2,
        kind=int,
        least=1,
        role="judges",
    ),
)
"""How reference trainings are told."""


@dataclass(frozen=True)
class Training:
    """One training: a unit of the run.

    Attributes:
        unit: its id.
        model: the unit of the model whose latents it is in.
        seed: of weights, batches and samples.
        steps: of the training.
        network: a key of `NETWORKS`.
    """

    unit: str
    model: str
    seed: int
    steps: int
    network: str

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Steps after which samples are judged."""
        return (*(step for step in _CHECKPOINTS if step < self.steps), self.steps)

    def measure(
        self,
        label: str,
        model: Autoencoder,
        images: Tensor,
        sources: Sequence[str],
        given: Mapping[str, Any],
        others: Sequence[Piece],
    ) -> Piece:
        """Train and judge, unless reconstructions are surely worse than what `others` generate already."""
        from theodolite.diffusability.trainer import TrainingPlan, entrant_of, reference_trainings

        entrant = entrant_of(model, images, sources, features=given["features"], seed=given["seed"])
        scale = float(entrant.judge.reference.covariance.trace())
        rfd = entrant.judge.reconstruction(entrant.held_out)
        rows = [number("trained_rfd", _share(rfd, scale), space=label, seed=self.seed)]
        if why := _lost(rfd, scale, label, others):
            return Piece(rows, about={"stopped": why})
        result = reference_trainings(
            {label: entrant},
            self.checkpoints,
            plan=TrainingPlan(self.network),
            seeds=(self.seed,),
            device=_device(given),
            racing=False,
        )[label]
        share = _share(result, scale)
        rows += [
            number("trained_run", share, index, space=label, steps=step, seed=self.seed)
            for index, step in enumerate(self.checkpoints)
        ]
        return Piece(rows, about={"samples": entrant.judge.samples, "scale": scale})


def trainings_of(given: Mapping[str, Any], models: Sequence[str]) -> dict[str, Training]:
    """The trainings of a run by unit: all models with the first seed, then with the next."""
    if given["train"] is None:
        return {}
    made = [
        Training(f"train.{model}.{given['network']}.s{seed}", model, seed, given["train"], given["network"])
        for seed in range(given["seeds"])
        for model in models
    ]
    return {own.unit: own for own in made}


def check_training(given: Mapping[str, Any]) -> None:
    """Refuse what says how to train where nothing is trained.

    Raises:
        InputError: seeds without a training.
    """
    default = next(setting.default for setting in TRAINING if setting.name == "seeds")
    if given["train"] is None and given["seeds"] != default:
        raise InputError(
            f"--seeds expected beside --train STEPS, got {given['seeds']} and no training; add --train, or leave out "
            "--seeds"
        )


def check_images(given: Mapping[str, Any], sources: Sequence[str]) -> None:
    """Refuse to train on fewer latents than a batch has.

    Raises:
        InputError: so few.
    """
    from theodolite.diffusability.trainer import TrainingPlan
    from theodolite.diffusability.trainer.entrants import held_out_of

    held = int(held_out_of(sources, given["seed"]).sum())
    if given["train"] is not None and (len(sources) - held < TrainingPlan().batch or held < 2):
        raise InputError(
            f"--train expects at least {TrainingPlan().batch} images beside those of the third of sources that is held "
            f"out, and two of these; got {len(sources) - held} and {held}: give more images, or leave --train out"
        )


def finished(units: Sequence[str], sitting: Sitting) -> list[Piece]:
    """Those of these units that were measured; one that failed has nothing to say."""
    pieces = []
    for unit in units:
        with suppress(InputError):
            pieces.append(sitting.piece(unit))
    return pieces


def _device(given: Mapping[str, Any]) -> str | torch.device:
    return given["device"] or "cpu"


def _share(log_distance: Estimate, scale: float) -> Estimate:
    """A distance over the variance of the images' features, from its logarithm."""
    from theodolite.estimates import Estimate

    value = (log_distance.value - math.log(scale)).exp()
    ends = tuple((end - math.log(scale)).exp() for end in log_distance.interval())
    stderr = value * log_distance.stderr
    return Estimate(
        value,
        stderr,
        log_distance.passes,
        log_distance.n,
        log_distance.statuses,
        log_distance.message,
        log_distance.method,
        ends=(ends[0], ends[1]),
    )


def _lost(rfd: Estimate, scale: float, label: str, others: Sequence[Piece]) -> str:
    """Why a training is left out: its reconstructions are surely worse than the best samples of another model."""
    finals = [[row for row in piece.rows if row["quantity"] == "trained_run"][-1:] for piece in others]
    rivals = [row for rows in finals for row in rows if row["space"] != label]
    if not rivals:
        return ""
    best = min(rivals, key=lambda row: float(row["value"]))
    ahead = rfd.item() - math.log(scale) - math.log(best["value"])
    error = math.hypot(float(rfd.stderr), best["stderr"] / best["value"])
    return f"reconstructions are surely worse than what {best['space']} generates" if ahead > _SURE * error else ""


def trained_rows(run: Run, labels: Sequence[str], first: str) -> Iterator[Row]:
    """GFD / V of every model at every checkpoint, a mean over seeds of its logarithm, and its ratio to one model's."""
    if "trained_run" not in run.quantities:
        return
    logs = {label: _by_step(run, label) for label in labels}
    for label, steps in logs.items():
        for step, own in steps.items():
            yield _row("trained", _over_seeds(own), space=label, steps=step)
            if step in logs.get(first, {}):
                ratio = _ratio(own, logs[first][step]) if label != first else (0.0, 0.0, "learned")
                yield _row("trained_ratio", ratio, space=label, steps=step)


def _by_step(run: Run, label: str) -> dict[int, list[tuple[float, float]]]:
    """Logarithms and their errors by checkpoint, one a seed."""
    by_step: dict[int, list[tuple[float, float]]] = {}
    for row in run.rows("trained_run", space=label):
        by_step.setdefault(row["steps"], []).append((math.log(row["value"]), row["stderr"] / row["value"]))
    return dict(sorted(by_step.items()))


_Log = tuple[float, float, str]
"""A logarithm, its standard error and a status."""


def _over_seeds(own: Sequence[tuple[float, float]]) -> _Log:
    import torch

    from theodolite.estimates import student_mean

    if len(own) == 1:
        return (*own[0], "few-samples")
    mean, stderr = student_mean(torch.tensor([[value] for value, _ in own], dtype=torch.float64))
    return float(mean), float(stderr), "learned"


def _ratio(own: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> _Log:
    (a, a_error, status), (b, b_error, beside) = _over_seeds(own), _over_seeds(other)
    return a - b, math.hypot(a_error, b_error), "few-samples" if "few-samples" in (status, beside) else status


def _row(quantity: str, log: _Log, **where: Any) -> Row:
    from theodolite.estimates import Estimate

    value, error, status = log
    ends = math.exp(value - 1.96 * error), math.exp(value + 1.96 * error)
    level = math.exp(value)
    estimate = Estimate.of(level, level * error, statuses=status, method="reference training", ends=ends)
    return number(quantity, estimate, **where)
