"""`floor`: what a network that is trained on a model's latents cannot get below, by noise level and in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.data.remote import data_of
from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.experiments.floor.training_log import read_losses
from theodolite.experiments.spaces import space_piece, stored_space
from theodolite.runs.experiment import Derived, Experiment, Piece, Row, Sitting, number
from theodolite.runs.settings import BUDGET, DATA, DEVICE, GROUP, LIMIT, MODEL, SEED, SIZE, Setting

if TYPE_CHECKING:
    import torch

    from theodolite.diffusability import Space
    from theodolite.diffusability.floors import TimeSampling
    from theodolite.estimates.quantity import Quantity
    from theodolite.runs.run import Run

__all__ = ["EXPERIMENT"]

LATENTS = "latents"
"""The one unit."""

_RESAMPLES = 1000

_LOSSES = ("v", "eps", "x0", "edm")
"""Those of `theodolite.diffusability.floors`, without an import of torch for the help."""


def _time(value: str) -> str:
    from theodolite.diffusability.floors import time_sampling

    return time_sampling(value).name


class Floor(Experiment):
    """Say which training loss no network can beat in the latents of MODEL, by noise level and in all, with its band.

    The floor of a denoising loss is the MMSE of the latents, weighted as the loss weighs it. Above, it is bounded by
    the held-out loss of the best of several denoisers; below, by that of the mixture of all latents at these latents
    themselves. The truth is known to lie between; at little noise only more images bring the two together. With
    --losses the loss of one's own training stands beside it: what was learned, what is still to learn, what is
    impossible.

    Losses are means over the entries of a latent, and noise `sigma` is over the signal, in the units of the latents as
    the model gives them (scaling factor included). For straight lines `x = (1 - a) z + a eps` with velocity
    `eps - z`, `sigma = a / (1 - a)`.

    Cost: one encoder pass an image and inner products of all pairs of latents at about ten noise levels; with budget
    `standard` a short training of three networks too. Source: identity of the velocity's irreducible variance with the
    MMSE and both bounds, derived here; Zhong et al. 2026 (arXiv 2606.03578) for Gaussians.

    Examples:
      theodolite floor zoo:patches-kl --data photos --out runs/floor --size 32
      theodolite floor ./my-vae --data photos --out runs/floor --loss eps --time cosine
      theodolite floor ./my-vae --data photos --out runs/floor --time logit-normal --losses losses.csv
    """

    kind = "floor"
    summary = SUMMARIES["floor"]
    arguments = (MODEL,)
    settings = (
        DATA,
        Setting(
            name="loss",
            default="v",
            choices=_LOSSES,
            help="What the network is trained for: velocity, noise, clean latent, or the latent weighted as in EDM.",
            role="judges",
        ),
        Setting(
            name="time",
            default="uniform",
            help="How noise levels are drawn: uniform, uniform:SHIFT, logit-normal, logit-normal:MEAN:DEVIATION, "
            "cosine, linear or edm.",
            check=_time,
            role="judges",
        ),
        Setting(
            name="losses",
            help="CSV file of your own training: columns step and loss (means over entries), and sigma or t (the share "
            "of noise) where losses are by noise level.",
            metavar="FILE",
            role="judges",
        ),
        Setting(name="sample", default=False, kind=bool, help="Take a draw from each posterior in place of its mean."),
        replace(LIMIT, default=None, least=2),
        replace(SIZE, help="Centre square, resized to so many pixels; by default what images and model have."),
        replace(GROUP, role="places"),
        replace(BUDGET, default="quick", help="quick: no networks; standard: a short training; full: a long one."),
        SEED,
        DEVICE,
    )
    coordinates: ClassVar = {"sigma": float}
    requires: ClassVar = {"model": dict, "latent_shape": list, "data.groups": dict}

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.data.images import sourced_images
        from theodolite.data.models import check_model
        from theodolite.diffusability.floors import time_sampling
        from theodolite.diffusability.measured import checked_groups

        super().__init__(given)
        check_model(given["model"])
        if given["losses"] is not None:
            read_losses(given["losses"], time_sampling(given["time"]))
        folder = data_of(given["data"])
        self.images, self.sources = sourced_images(folder, given["group"], given["limit"], seed=given["seed"])
        self.names, self.index = checked_groups(self.sources)
        self.units = (LATENTS,)

    def open(self) -> None:
        """Load the model, and check on one image that it takes it, and has a posterior where draws are wanted."""
        from theodolite.data.models import opened_autoencoder

        size = self.given["size"] or self.images.common_size
        self.model = opened_autoencoder(self.given["model"], self.kind, device=self.given["device"], size=size)
        self.device = self.model.device
        first = self._encoded(self._read(1))
        self.shape = tuple(first.shape[1:])

    def _read(self, count: int | None = None) -> torch.Tensor:
        import torch

        from theodolite.data.images import load_file

        size, model = self.given["size"], self.model
        if size is None:
            self.images.of_one_size(model.downsampling)
        reading = {"channels": model.image_channels, "size": size, "multiple": model.downsampling}
        return torch.cat([load_file(image, **reading) for image in self.images.files[:count]])

    def _encoded(self, images: torch.Tensor) -> torch.Tensor:
        """Latents as the model gives them, posterior draws where they are wanted; these define the quantity."""
        import torch

        self.model.check_images(images[:1])
        draws = torch.Generator().manual_seed(self.given["seed"])
        is_drawn = bool(self.given["sample"])
        with torch.no_grad():
            latents = [self.model.encode(part, sample=is_drawn, generator=draws) for part in images.split(8)]
        return torch.cat(latents).float().cpu()

    def record(self) -> dict[str, Any]:
        """The model, the images with their sources, and the shape of latents."""
        files = [
            {"sample": image.sample, "file": image.file, "group": source}
            for image, source in zip(self.images.files, self.sources)
        ]
        skipped, notes = [asdict(image) for image in self.images.skipped], [*self.images.notes]
        groups = {name: self.sources.count(name) for name in self.names}
        data = {"folder": str(self.images.folder), "files": files, "skipped": skipped, "notes": notes, "groups": groups}
        return {"model": self.model.describe(), "latent_shape": list(self.shape), "data": data}

    def content(self) -> dict[str, Any]:
        """The model's fingerprint, hashes of the images, and the source of each."""
        hashes = {image.sample: image.sha256 for image in self.images.files}
        sources = dict(zip(hashes, self.sources))
        return {"model": self.model.fingerprint(), "images": hashes, "source_of_images": sources}

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """The latents as a space: losses of every denoiser, by source and noise level."""
        from theodolite.diffusability.cross_fitting import checked_effort, without_networks
        from theodolite.diffusability.measured import floor_grid, measured_space

        latents = self._encoded(self._read())
        effort, note = without_networks([self.shape], self.index, checked_effort(self.given["budget"]))
        sitting.tell(note or "denoise")
        tau = floor_grid(latents[0].numel())
        seed = self.probe_seed()
        return space_piece(measured_space(LATENTS, latents, self.names, self.index, tau, effort, seed, sitting.tell))

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """The floor at every noise level and in all, and the user's own losses beside it."""
        from theodolite.diffusability.floors import bounded, floor_curves, loss_floor, time_sampling
        from theodolite.estimates import Resamples

        if LATENTS not in run.units:
            raise InputError(f"{run.path} holds no finished latents yet; run its command again: {run.info['command']}")
        space = stored_space(run, LATENTS, run.info["model"]["name"])
        loss, time = run.settings["loss"], time_sampling(run.settings["time"])
        resamples = Resamples(len(space.groups), _RESAMPLES, run.settings["seed"])
        rows = [number("loss_floor", loss_floor(space, resamples, loss, run.settings["time"]))]
        lower, upper = (curve / space.dimension for curve in floor_curves(space, loss, time, resamples.weights))
        curve, sigma = bounded(lower, upper, resamples), space.t.sqrt() / space.scale
        rows += [number("floor", curve, index, sigma=level) for index, level in enumerate(sigma.tolist())]
        if run.settings["losses"]:
            rows += _beside(run.settings["losses"], time, space, rows, sigma.log())
        return Derived(rows)

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """What the numbers of a floor are called."""
        from theodolite.experiments.floor.page import QUANTITIES

        return QUANTITIES


def _beside(log: str, time: TimeSampling, space: Space, rows: list[Row], u: torch.Tensor) -> list[Row]:
    """The user's losses at the last step, what was learned since the first, what is left and what is impossible.

    Over several noise levels these are means over the levels of the file; without levels, over those of the training.
    """
    import torch

    from theodolite.estimates import Estimate

    losses = read_losses(log, time)
    levels = [level for level in losses.last if level is not None]
    ends = torch.tensor([[row["low"], row["high"]] for row in rows if row["quantity"] == "floor"], dtype=torch.float64)
    if levels:
        at = torch.tensor(levels, dtype=torch.float64).log()
        low, high = _read_at(at, u, ends).mean(0).tolist()
    else:
        low, high = rows[0]["low"], rows[0]["high"]
    first, last = (sum(own.values()) / len(own) for own in (losses.first, losses.last))
    least = last - high if last < low else max(0.0, last - high)  # below the floor something is wrong: told as it is
    left = Estimate.of(
        least,
        (high - low) / 1.96,
        n=len(space.groups),
        statuses="lower-bound",
        ends=(least, last - low),
    )
    impossible = Estimate.of(high, (high - low) / 1.96, n=len(space.groups), statuses="upper-bound", ends=(low, high))
    own = {"learned": Estimate.of(first - last), "left": left, "impossible": impossible, "own_loss": Estimate.of(last)}
    by_level = [number("own_loss", Estimate.of(losses.last[level]), sigma=level) for level in levels]
    return [*(number(name, estimate) for name, estimate in own.items()), *by_level]


def _read_at(u: torch.Tensor, grid: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Values `(T, k)` of a grid read at `u: (n,)` by straight lines in logarithms, at its ends beyond them."""
    import torch

    index = torch.searchsorted(grid, u.contiguous()).clamp(1, len(grid) - 1)
    share = ((u - grid[index - 1]) / (grid[index] - grid[index - 1])).clamp(0, 1)[:, None]
    logs = values.clamp_min(1e-30).log()
    return ((1 - share) * logs[index - 1] + share * logs[index]).exp()


EXPERIMENT = Floor
