"""`guide`: a diffusion model guided by its local scaling, beside controls, reward by reward and scale by scale."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.runs.experiment import Derived, Experiment, Piece, Sitting, number, numbers
from theodolite.runs.settings import DEVICE, MODEL, REVISION, SEED, SUBFOLDER, Setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import LatentMap
    from theodolite.runs.run import Run
    from theodolite.steering import Judge, LearnedReward
    from theodolite.steering.guidance import Reward
    from theodolite.steering.subject import Subject

__all__ = ["CONTROLS", "EXPERIMENT", "done_rewards", "reward_of", "unit_of"]

CONTROLS = ("brightness", "contrast", "detail", "random")
"""What guidance by local scaling may be compared with: properties of images, and a random direction."""

_CHECKED_AT = 3
"""Points of the self-check, which ends at the first where derivatives hold."""

_COLUMNS = 16
"""Samples in a strip: what is still seen in a row of a page."""


def _scales(rho: list[float]) -> list[float]:
    if not any(rho):
        raise InputError(f"`rho` expected as finite scales, one at least besides zero, got {rho}")
    return rho


class Guide(Experiment):
    """Fit a reward of local scaling to samples of MODEL, guide it at every scale, and measure what came of it.

    True local scaling, diversity, and with a classifier the Fréchet distance and confidence are set beside controls
    that push as hard: rewards of plain properties of images, and a random direction. MODEL is zoo:coloured-latent,
    zoo:coloured-pixels, or the folder or hub id of an unconditional diffusers pipeline. Samples of all scales start
    from the same noise, so that changes of local scaling are paired.

    Cost: local scaling at every clean sample and at the measured ones of every reward and scale; the reward of another
    run, with --reward, saves the first. Source of the claim: Humayun et al. 2025 (arXiv 2408.08307).

    Examples:
      theodolite guide zoo:coloured-latent --rho -0.4,-0.2,-0.1,0.1,0.2,0.4 --out runs/guided
      theodolite guide zoo:coloured-latent --reward runs/guided --rho -0.3,0.3 --out runs/again
    """

    kind = "guide"
    summary = SUMMARIES["guide"]
    arguments = (MODEL,)
    # scales and controls are units of their own, so that a run grows by more; the weights of a reward are content
    settings = (
        Setting(
            name="rho",
            default=(-0.4, -0.2, 0.0, 0.2, 0.4),
            kind=float,
            many=True,
            check=_scales,
            role="places",
            help="Scales of either sign; zero is added.",
        ),
        Setting(
            name="control",
            default=("contrast", "random"),
            many=True,
            choices=CONTROLS,
            role="places",
            help="Compare with guidance by a plain property of images, or in a random direction.",
        ),
        Setting(
            name="reward", metavar="RUN", role="places", help="A run, or a saved `LearnedReward`, in place of training."
        ),
        Setting(name="norm", default="unit", choices=("unit", "raw"), help="Length of gradients."),
        Setting(name="clean", default=400, kind=int, least=40, help="Samples to fit rewards to."),
        Setting(name="training", default=400, kind=int, least=1, metavar="STEPS", help="Of every reward."),
        Setting(name="samples", default=64, kind=int, least=8, help="Samples a scale."),
        Setting(name="measured", default=16, kind=int, least=3, help="Of these, with local scaling."),
        Setting(name="steps", default=12, kind=int, least=1, help="Of the sampler."),
        Setting(name="guidance", default=1.5, kind=float, help="Classifier-free, of the zoo's models; 1 for none."),
        Setting(
            name="level", default=0.1, kind=float, above=0, help="Of a pixel model: noise of its map, in units of data."
        ),
        SEED,
        SUBFOLDER,
        REVISION,
        DEVICE,
    )
    coordinates: ClassVar = {"reward": str, "rho": float, "sigma": float}
    without_derivatives = frozenset(("diversity", "frechet_distance", "confidence", "accuracy", "held_out_correlation"))
    requires: ClassVar = {"model": dict, "model.name": str, "model.shape": list, "model.map": str}

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.data.models import check_model

        super().__init__(given)
        check_model(given["model"])
        self.rhos = sorted({0.0, *given["rho"]})
        self.rewards = ("scaling", *dict.fromkeys(given["control"]))
        learnt = [f"reward-{name}" for name in self.rewards if name != "random"]
        self.units = [*learnt, unit_of("", 0.0), *(unit_of(n, rho) for n in self.rewards for rho in self.rhos if rho)]
        self.given_reward = None if given["reward"] is None else _read_reward(given["reward"])

    def open(self) -> None:
        """Load the model, and see that a reward that was given fits it."""
        from theodolite.data.models import opened_denoiser
        from theodolite.steering.subject import subject_of

        model = opened_denoiser(self.given["model"], self.kind, **self.loading())
        self.subject: Subject = subject_of(model, self.given["level"])
        self.device: torch.device = self.subject.device
        if self.given_reward is not None and self.given_reward.shape != self.subject.shape:
            raise InputError(
                f"a reward of points {self.subject.shape} expected, {self.given['reward']} holds one of "
                f"{self.given_reward.shape}; fit another"
            )

    def record(self) -> dict[str, Any]:
        """The model, its points and the map whose local scaling is meant."""
        return {"model": {"name": self.subject.name, "shape": [*self.subject.shape], "map": self.subject.map.name}}

    def content(self) -> dict[str, Any]:
        """Fingerprints of the model and of a reward that was given."""
        reward = None if self.given_reward is None else self.given_reward.fingerprint()
        return {"model": self.subject.fingerprint(self.given["steps"]), "reward": reward}

    def checked_map(self) -> tuple[LatentMap, Tensor, str]:
        """The map whose local scaling is meant, at points of noise."""
        return self.subject.map, self.subject.noise(_CHECKED_AT, self.given["seed"]), self.subject.name

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """Fit one reward, or sample and measure with one reward at one scale."""
        if unit.startswith("reward-"):
            return self._fitted(unit.removeprefix("reward-"), sitting)
        name, rho = next((n, r) for n in self.rewards for r in self.rhos if unit_of(n, r) == unit)
        return self._guided(name, rho, sitting)

    def _fitted(self, name: str, sitting: Sitting) -> Piece:
        """A reward with its held-out rank correlation by noise level."""
        from theodolite.steering import fit_reward

        given, reward = self.given, self.given_reward if name == "scaling" else None
        if reward is None:
            sitting.tell("clean samples")
            clean = self.subject.clean(given["clean"], given["steps"], given["guidance"], given["seed"])
            target = self.subject.target(name, clean, given["seed"], sitting.tell)
            sitting.tell("training")
            reward = fit_reward(clean, target, steps=given["training"], generator=given["seed"])
        tensors, config = reward.packed()
        if reward.record is None:
            return Piece((), tensors, about={"config": config})
        known = {"levels": [*reward.levels]} if name == "scaling" else {}  # refuses a reward that knows nothing
        correlation, sigmas = reward.record.correlation, enumerate(reward.record.sigmas)
        rows = [number("held_out_correlation", correlation, n, reward=name, sigma=sigma) for n, sigma in sigmas]
        return Piece(rows, tensors, about={"config": config, **known})

    def _guided(self, name: str, rho: float, sitting: Sitting) -> Piece:
        """Samples from the common noise, their true local scaling, diversity and quality, and a strip of some."""
        import torch

        from theodolite.data.pixels import picture, side_by_side
        from theodolite.descriptors import local_scaling
        from theodolite.maps import sampler_map
        from theodolite.steering import guide, random_direction
        from theodolite.steering.sweep import mean_over_samples

        given, subject, (options, judge) = self.given, self.subject, self._judged
        noise = subject.noise(given["samples"], given["seed"] + 1)
        scaling = reward_of(sitting).to(self.device)
        reward: Reward = scaling
        if name == "random":
            reward = random_direction(len(noise), subject.shape, generator=given["seed"], like=scaling)
        elif name != "scaling":
            reward = reward_of(sitting, name).to(self.device)
        model = guide(subject.model, reward, rho, norm=given["norm"], levels=scaling.levels, **options)
        sitting.tell("samples")
        with torch.no_grad():
            points = sampler_map(model, given["steps"], "ddim")(noise)
            strip = side_by_side([picture(image) for image in subject.decode(points[:_COLUMNS])], gap=0)
        sitting.tell("local scaling")
        probes = None if self.redraw is None else self.probe_seed(unit_of(name, rho))
        psi = local_scaling(subject.map, points[: given["measured"]], generator=probes)
        with torch.no_grad():
            measured = {"local_scaling": mean_over_samples(psi.value, psi.status), **dict(judge(points))}
        rows = numbers(measured, reward=name if rho else None, rho=rho)
        return Piece(rows, {"local_scaling": psi.value}, {"": strip})

    @cached_property
    def _judged(self) -> tuple[dict[str, Any], Judge]:
        return self.subject.judged(self.given["samples"], self.given["guidance"], self.given["seed"])

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """Paired changes of local scaling over the scales, of every reward that is done at all of them."""
        from theodolite.steering.sweep import paired_changes

        def measured(unit: str) -> tuple[Tensor, str]:
            return run.arrays(unit)["local_scaling"], str(run.rows("local_scaling", unit=unit)[0]["status"])

        rhos, rows = sorted({0.0, *run.settings["rho"]}), []
        own = {name: {rho: measured(unit_of(name, rho)) for rho in rhos} for name in done_rewards(run)}
        for name, scaling in own.items():
            for rho, changes in paired_changes(scaling, None if name == "scaling" else own["scaling"]).items():
                rows += numbers(changes, reward=name, rho=rho)
        return Derived(rows)

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """What the numbers are called."""
        from theodolite.steering.sweep import QUANTITIES

        return QUANTITIES


def unit_of(reward: str, rho: float) -> str:
    """The unit of samples that a reward guides at a scale; those of zero are the same for all."""
    return f"{reward}_{rho:+.12g}" if rho else "unguided"


def done_rewards(run: Run) -> list[str]:
    """Rewards that are done at every scale, that of local scaling first; none where that one is not done."""
    rhos = [0.0, *run.settings["rho"]]
    names = ["scaling", *dict.fromkeys(run.settings["control"])]
    done = [name for name in names if all(unit_of(name, rho) in run.units for rho in rhos)]
    return done if "scaling" in done else []


def reward_of(run: Run | Sitting, name: str = "scaling") -> LearnedReward:
    """A reward that a run fitted.

    Raises:
        InputError: it is not finished.
    """
    from theodolite.steering import LearnedReward

    piece = run.piece(f"reward-{name}")
    return LearnedReward.unpacked(piece.arrays, piece.about["config"])


def _read_reward(path: str) -> LearnedReward:
    """The reward of a run folder, or of a file."""
    from theodolite.errors import path_of
    from theodolite.runs.registry import read_run
    from theodolite.steering import LearnedReward

    source = path_of(path, "a reward")
    if not source.is_dir():
        return LearnedReward.load(source)
    run = read_run(source)
    if run.kind != Guide.kind:
        raise InputError(f"a run of `theodolite guide` or the file of a reward expected, {path} is of {run.kind}")
    return reward_of(run)


EXPERIMENT = Guide
