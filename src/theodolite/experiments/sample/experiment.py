"""`sample`: a model's samples with their noise and conditions, judged, and scored by geometry and by baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.data.remote import data_of
from theodolite.detection.sample_scores import DEAR, DESCRIPTORS, LEVEL, OF_CONDITIONS, QUANTITIES
from theodolite.errors import InputError, refusing
from theodolite.experiments import SUMMARIES
from theodolite.runs import settings as usual
from theodolite.runs.experiment import Derived, Experiment, Piece, Row, Sitting, number, numbers
from theodolite.runs.settings import AnyObject, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.data.images import ImageSet
    from theodolite.data.judges import Judge, Verdict
    from theodolite.data.samples import Draw
    from theodolite.estimates import Estimate
    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import LatentMap
    from theodolite.runs.run import Run

__all__ = ["EXPERIMENT", "Sample"]

_REAL = "real"
"""The unit of the real images, and their side; every other unit is a sample."""

_NOISE = "Noise of the samples: seed:0..63, a standard normal draw each, or a .safetensors file (n, *latent)."
_MAP = "What is sampled; by default the decoder, the generator or the sampler."
_CONDITION = (
    "Of a sampler: one condition, a class (207, 3-red) or a .safetensors file, or several, of which every sample draws "
    "one; by default drawn from those that the model names."
)
_EMBEDDING = "Features of images: pixels, patches (mean and spread of each 8 x 8) or package.module:factory."
_LIMIT = "Real images, drawn at random by the seed, from their sources and sub-folders in turn; 0 for all."
_DESCRIPTORS = f"What is measured at the noise; by default all but {' and '.join(DEAR)}."
_WORST = "Share of the samples that counts as bad: the worst by the judge."
_BELOW = "Instead of --worst: bad is what the judge scores below this, e.g. 0.5."
_OWN_DISTANCE = "distance to the nearest real image"


def _share(value: float) -> float:
    if not value < 1:
        raise InputError(f"`worst` expected between 0 and 1, got {value!r}; 0.1 calls one sample in ten bad")
    return value


class Sample(Experiment):
    """Are the bad samples of MODEL told by its geometry at their noise, better than by numbers that cost little?

    Every sample is drawn from its own standard normal noise (and, of a conditional model, under a class that is given
    or drawn). A judge says how good it is: a classifier of yours (--judge my_module:factory, a function without
    arguments that returns a callable on images in [-1, 1] with logits or scores), the classifier that a model of the
    zoo has, or, without one, its distance to the nearest real image. Bad is the worst tenth, or what --below says.

    Local scaling, rank, complexity and gain of the map at the noise, and how far a condition moves the sample, then
    stand beside what costs no Jacobian: distance to the nearest real image, denoising error, norm of the noise, and
    plain numbers of pixels. The report says by AUROC, with intervals over noise draws and within classes, whether any
    of the first beats the best of the second on this model; counts classes against real images; and shows the samples
    in the order of every score, each with its nearest real image.

    A sample costs about 190 passes of the sampler, quick; curvature and condition_volume, which are measured where
    --descriptors names them, 270 and 110 more. --judge and --embedding want the samples anew, --worst and --below not.

    Examples:
      theodolite sample zoo:coloured-latent --data digits --out runs/digits
      theodolite sample my_package.models:gan --data photos --judge my_package.models:classifier --out runs/gan
      theodolite sample ./pipeline --subfolder unet --data photos --condition 207,360 --steps 20 --out runs/two
      theodolite sample ./my-vae --data photos --latents seed:0..255 --descriptors local_scaling --dry-run
      theodolite sample zoo:coloured-latent --data digits --out runs/digits --below 0.5 --json
    """

    kind = "sample"
    summary = SUMMARIES["sample"]
    arguments = (usual.MODEL,)
    settings: ClassVar[Sequence[Setting]] = (
        replace(usual.DATA, help="Real images: folder with its subfolders, or a file of many. Subfolders are classes."),
        replace(usual.LATENTS, default="seed:0..63", help=_NOISE),
        replace(usual.MAP, help=_MAP, choices=("decoder", "generator", "sampler")),
        *(usual.STEPS, usual.GUIDANCE),
        replace(usual.CONDITION, many=True, help=_CONDITION, metavar="CLASS|FILE"),
        usual.UNCONDITIONAL,
        AnyObject(name="judge", metavar="MODULE:FACTORY", help="What judges the samples; see above.", role="places"),
        Setting(name="embedding", default="patches", help=_EMBEDDING),
        replace(usual.LIMIT, default=200, help=_LIMIT),
        replace(usual.SIZE, help="Pixels of the samples, for a model that draws any size."),
        replace(usual.BUDGET, default="quick"),
        Setting(name="descriptors", many=True, choices=tuple(DESCRIPTORS), help=_DESCRIPTORS),
        Setting(name="worst", default=0.1, kind=float, above=0.0, check=_share, role="judges", help=_WORST),
        Setting(name="below", kind=float, role="judges", help=_BELOW),
        usual.SEED,
        *usual.LOADING,
    )
    coordinates: ClassVar = {
        "model": str, "sample": str, "side": str, "map": str, "condition": str, "mode": str, "score": str,
        "beside": str,
    }  # fmt: skip
    requires: ClassVar[Mapping[str, type]] = {"model": dict, "data.files": list, "judge": dict}
    without_derivatives = frozenset(
        {*QUANTITIES} - {"condition_volume", "auroc", "auroc_within", "advantage", "p_value"}
    )

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.data.images import find_images
        from theodolite.data.judges import judge_of
        from theodolite.data.latents import find_latents
        from theodolite.data.models import check_model
        from theodolite.data.plane_family import embedding_of
        from theodolite.descriptors.effort import EFFORTS

        super().__init__(given)
        check_model(given["model"], **self.loading())
        self.noise = find_latents(given["latents"])
        if len(self.noise.samples) < 2:
            raise InputError(f"two samples or more expected, got {len(self.noise.samples)}; e.g. --latents seed:0..63")
        self.embed = embedding_of(given["embedding"])
        self.judge: Judge | None = None if given["judge"] is None else judge_of(given["judge"])
        self.effort = EFFORTS[given["budget"]]
        self.images: ImageSet = find_images(data_of(given["data"]), given["limit"], seed=given["seed"] or 0)
        self.units = [_REAL, *self.noise.samples]

    def open(self) -> None:
        """The model, its conditions, the judge, the real images, and what can be measured."""
        from theodolite.data.judges import Judge
        from theodolite.data.references import read_references
        from theodolite.data.samples import Draws
        from theodolite.descriptors.together import applicable

        self.draws = Draws(self.given, self.noise, self.loading())
        self.subject = self.draws.subject
        self.device = self.subject.device
        self.first = self.draws.draw(self.noise.samples[0])
        own = getattr(self.subject.denoiser, "classifier", None)
        if self.judge is None and own is not None:
            self.judge = Judge(own, f"the classifier of {self.subject.name}")
        self.real = read_references(self.images, self.first.image.shape[1:], self.embed)
        self._verdict(self.first)
        chosen = [name for name in DESCRIPTORS if name in (self.given["descriptors"] or {*DESCRIPTORS} - {*DEAR})]
        self.geometry, self.left_out = applicable(
            [n for n in chosen if n not in OF_CONDITIONS], self.first.image.shape[1:]
        )
        why, self.of_conditions = self.draws.why_unmoved, [name for name in chosen if name in OF_CONDITIONS]
        if why:
            unmeasured = self.of_conditions if self.given["descriptors"] or self.draws.conditions else ()
            self.left_out += [{"what": name, "reason": why} for name in unmeasured]
            self.of_conditions = []
        if not self.geometry and not self.of_conditions:
            raise InputError(f"no descriptor left: {self.left_out[0]['what']}: {self.left_out[0]['reason']}")

    def record(self) -> dict[str, Any]:
        """Model, real images, judge, conditions, and what is left out."""
        files = [{"sample": file.sample, "file": file.file} for file in self.images.files]
        skipped = [asdict(file) for file in self.images.skipped]
        notes = [*self.images.notes, *self.draws.notes]
        name = _OWN_DISTANCE if self.judge is None else self.judge.name
        return {
            "model": self.subject.describe(),
            "map": self.subject.kind,
            "data": {"folder": str(self.images.folder), "files": files, "skipped": skipped, "notes": notes},
            "judge": {"name": name, "distance": self.judge is None},
            "conditions": self.draws.conditions,
            "latent_shape": [*self.first.latent.shape[1:]],
            "output_shape": [*self.first.image.shape[1:]],
            "left_out": self.left_out,
            "effort": {key: value for key, value in asdict(self.effort).items() if value is not None},
        }

    def content(self) -> dict[str, Any]:
        """The model's fingerprint, the real images by hash, the judge, and what is measured."""
        from theodolite.maps import LatentMap

        judge = None if self.judge is None else LatentMap(self.judge.function, (1,)).fingerprint()
        return {
            "model": self.subject.fingerprint(),
            "images": {file.sample: file.sha256 for file in self.images.files},
            "judge": judge,
            "descriptors": [*self.geometry, *self.of_conditions],
            "effort": asdict(self.effort),
            "conditions": self.draws.conditions,
        }

    def identity(self, unit: str) -> Any:
        """Of a sample its noise."""
        return None if unit == _REAL else self.noise.identity(unit)

    def checked_map(self) -> tuple[LatentMap, Tensor, str]:
        """The map at the first noise."""
        return self.first.subject.map, self.first.latent, self.subject.name

    def forecast(self) -> Mapping[str, Any]:
        """Passes of a sample by descriptor, counted; and seconds, from a pass that is timed."""
        from theodolite.descriptors.forecast import forecast_of

        map, latent, name = self.checked_map()
        with refusing(name, "cannot be differentiated", "it must run in torch operations only"):
            costs = forecast_of(self.geometry, self.effort, map, latent, len(self.noise.samples))
        more = {
            "condition_shift": 2,
            "condition_volume": self.effort.spectrum_passes(min(latent[0].numel(), costs.output_dim)),
        }
        passes = {**costs.passes, **{name: more[name] for name in self.of_conditions}}
        return {**replace(costs, passes=passes).as_dict(), "left_out": self.left_out}

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """The real images, or one sample."""
        return self._real() if unit == _REAL else self._sample(unit, sitting)

    def _real(self) -> Piece:
        """The plain numbers of every real image, what the judge says, and the nearest other one."""
        from theodolite.detection.sample_baselines import plain_numbers

        pixels, features = self.real.others()
        said = self.real.verdict(features) if self.judge is None else self.judge.verdict(self.real.images)
        own = {**plain_numbers(self.real.images), **_distances(pixels.distance, features.distance)}
        rows: list[Row] = []
        for index, sample in enumerate(self.real.samples):
            coordinates = {"sample": sample, "side": _REAL}
            rows += [*numbers(own, index, **coordinates), _judged(said, index, coordinates)]
        return Piece(rows)

    def _sample(self, unit: str, sitting: Sitting) -> Piece:
        """The sample, its nearest real images, what the judge says, baselines, and the descriptors at its noise."""
        from theodolite.data.pixels import picture
        from theodolite.descriptors.chart import Chart
        from theodolite.descriptors.together import measured_at
        from theodolite.detection import score_norm
        from theodolite.detection.sample_baselines import plain_numbers

        draw, seed = self.draws.draw(unit), self.probe_seed(unit)
        pixels, features = self.real.nearest_pixels(draw.image), self.real.nearest_features(draw.image)
        plain = {
            **plain_numbers(draw.image),
            **_distances(pixels.distance, features.distance),
            "noise_norm": score_norm(draw.latent.cpu()),
            **self._denoising(draw),
        }
        exact = {"exact_second": sitting.second_order_holds}
        chart = Chart(draw.subject.map, draw.latent, effort=self.effort, generator=seed, **exact)
        measured = measured_at(chart, self.geometry, seed)
        shifts = self._shifts(draw, measured.estimates.get("local_scaling_floored"), seed)
        coordinates: dict[str, Any] = {
            "model": self.subject.name,
            "sample": unit,
            "side": "drawn",
            "map": self.subject.kind,
        }
        coordinates["condition"] = draw.condition
        rows = numbers({**measured.estimates, **shifts, **plain}, **coordinates)
        rows.append(_judged(self._verdict(draw), 0, coordinates))
        near = {"pixels": int(pixels.place), "features": int(features.place)}
        pictures = {"": picture(draw.image[0])}
        pictures |= {f"nearest-{name}": picture(self.real.images[index]) for name, index in near.items()}
        nearest = {name: self.real.samples[index] for name, index in near.items()}
        about = {"nearest": nearest, "way": chart.operator.way, "passes": chart.operator.passes}
        return Piece(rows, {"latent": draw.latent[0]}, pictures, about, measured.failed, measured.messages)

    def _denoising(self, draw: Draw) -> dict[str, Estimate]:
        """How well the denoiser gives a sample back from noise; nothing where the model has none."""
        from theodolite.detection.sample_baselines import denoising_loss
        from theodolite.estimates.streams import seed_of

        denoise, seed = self.draws.denoiser(draw, LEVEL), seed_of(int(self.given["seed"]), "denoising")
        return (
            {} if denoise is None else {"denoising_error": denoising_loss(denoise, self.draws.clean(draw), LEVEL, seed)}
        )

    def _shifts(self, draw: Draw, volume: Estimate | None, seed: int) -> dict[str, Estimate]:
        """What the condition of a sample changes."""
        from theodolite.detection.sample_baselines import condition_shifts

        without = self.draws.without
        if draw.condition is None or without is None or not self.of_conditions:
            return {}
        maps = draw.subject.map, without.map
        options: dict[str, Any] = {"effort": self.effort, "seed": seed, "volume": volume}
        return condition_shifts(*maps, draw.latent, self.of_conditions, **options)

    def _verdict(self, draw: Draw) -> Verdict:
        if self.judge is None:
            return self.real.verdict(self.real.nearest_features(draw.image))
        return self.judge.verdict(draw.image, draw.asked)

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """Bad samples, AUROC of every score beside the baselines and within classes, classes and drift."""
        from theodolite.experiments.sample.judging import Judging

        return Judging(run).derived()

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """Those of descriptors, baselines and judge, and of what follows from them."""
        from theodolite.experiments.survey.experiment import quantities_of

        return {**quantities_of(), **QUANTITIES}


def _distances(pixels: Tensor, features: Tensor) -> dict[str, Estimate]:
    from theodolite.estimates import Estimate

    return {"nearest_pixels": Estimate.exact(pixels), "nearest_features": Estimate.exact(features)}


def _judged(said: Verdict, index: int, coordinates: Mapping[str, Any]) -> Row:
    """What the judge says of one image, with the class that it sees as `mode`."""
    from theodolite.estimates import Estimate

    mode = None if said.classes is None else said.classes[index]
    return number("judged", Estimate.exact(said.score), index, **coordinates, mode=mode)


EXPERIMENT = Sample
