"""`decouple`: the experiment of the decoupling paper on a conditional sampler, with same-seed pairs of conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.experiments.conditions import CONDITIONS
from theodolite.experiments.decouple import STUDENT
from theodolite.runs.experiment import Derived, Experiment, Piece, Row, Sitting, numbers
from theodolite.runs.settings import LOADING, SEED, UNCONDITIONAL, AnyObject, Argument, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.descriptors.decoupling import Decoupling
    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import LatentMap
    from theodolite.runs.run import Run

__all__ = ["EXPERIMENT", "KINDS", "Decouple"]

KINDS = ("normal", "unusual", "null")
"""Conditions of a pair; without any at the last."""
_INTERPOLATED = 2
"""Pairs between whose noises a path is measured: the smallest batch, in which pairs are verified."""
_BATCH = 14
"""Pairs of the same prompts that are measured together: enough to fill a processor, few enough to be lost to a kill."""
_OF_PAIRS, _OF_CLAIMS = ("condition", "prompt"), ("claim", "beside", "part", "pair")
_KIND = "A conditional diffusion model: of the zoo, e.g. zoo:coloured-latent, a diffusers folder, a hub id"
_PAIRS = "Seeds, each used under both conditions; 200 for a verdict on the first claim."
_NEIGHBOURS = "Of LC, whose scatter is its error; the paper's recipe has one, without an error."
_STUDENT = (
    "A distilled student of few steps, which decides the seventh claim: at the same noises, without guidance, e.g. "
    "zoo:coloured-distilled."
)
_DIMENSION = "Of the random subspace; the smaller of 64 and a quarter of the latent by default."


class Decouple(Experiment):
    """Do scaling, rotation and detail of a sampler come apart under conditions it never saw?

    Every seed is sampled under a normal and an unusual condition with the same noise, and under none. Local scaling LS,
    rotation of the leading direction LC and its detail PHFE are measured inside a random subspace by exact derivatives
    (`theodolite.descriptors.decoupling`), and eight claims of the decoupling paper (Liang, Chen and Lai 2026, arXiv
    2604.18804) are tested, each with its interval: holds, fails or undecided (docs/decoupling.md).

    Every two successive pairs share their conditions and are the ends of one interpolation. Cost of a condition of a
    pair: k + 6 neighbours + 19 runs of the sampler, in paper mode 2 (k + 1) + 19; before them about 25 runs of the
    self-check.

    Examples:
      theodolite decouple zoo:coloured-latent --out runs/claims
      theodolite decouple zoo:coloured-latent --pairs 200 --steps 8 --neighbours 4 --no-null --out runs/claims
      theodolite decouple zoo:coloured-latent --paper --out runs/paper
      theodolite decouple ./my-dit --conditions 207/360,281/404 --guidance 4 --out runs/dit
      theodolite decouple OWNER/DIT --subfolder transformer --conditions 207/360 --out runs/hub
    """

    kind = "decouple"
    summary = SUMMARIES["decouple"]
    arguments = (Argument("model", f"{_KIND}, or package.module:factory."),)
    settings = (
        CONDITIONS,
        Setting(name="pairs", help=_PAIRS, default=24, kind=int, least=2),
        Setting(name="steps", help="Of the sampler.", default=12, kind=int, least=1),
        Setting(name="guidance", help="Of both conditions; 1 for none.", default=2.0, kind=float),
        UNCONDITIONAL,
        Setting(name="method", help="Of the sampler.", default="ddim", choices=("ddim", "euler", "heun")),
        Setting(name="dimension", help=_DIMENSION, kind=int, least=1, metavar="K"),
        Setting(name="neighbours", help=_NEIGHBOURS, default=8, kind=int, least=2),
        Setting(name="paper", help="Forward differences of 0.02, as released, with checks.", default=False, kind=bool),
        AnyObject(name="student", help=_STUDENT, metavar="MODEL", role="places"),
        Setting(name="student_steps", help="Of the student's sampler.", default=4, kind=int, least=1),
        Setting(name="null", help="Measure without a condition too.", default=True, kind=bool),
        SEED,
        *LOADING,
    )
    coordinates: ClassVar = {**dict.fromkeys(_OF_PAIRS, str), "step": float, **dict.fromkeys(_OF_CLAIMS, str)}
    without_derivatives = frozenset({"tortuosity", "jump", "recognised"})
    requires: ClassVar = {"model": dict, "model.name": str, "model.shape": list, "prompts": list}

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.data.conditions import prompts_of
        from theodolite.data.models import check_model

        super().__init__(given)
        check_model(given["model"], **self.loading())
        if given["student"] is not None:
            check_model(given["student"])
        if given["conditions"] is not None:
            prompts_of(None, given["conditions"])
        self._measured: dict[str, Piece | Exception] = {}

    def open(self) -> None:
        """Load the model, and sample it once under every condition."""
        import torch

        from theodolite.data.conditions import prompts_of, text_of, value_of
        from theodolite.data.models import opened_denoiser
        from theodolite.descriptors.subspaces import subspace_dimension
        from theodolite.estimates import Seeds

        self.model = opened_denoiser(self.given["model"], self.kind, **self.loading())
        self.name = str(getattr(self.model, "name", type(self.model).__name__))
        self.unconditional = value_of(self.given["unconditional"])
        self.prompts = prompts_of(self.model, self.given["conditions"])
        self.given["conditions"] = text_of(self.prompts)
        self.pairs = [f"pair-{index:04d}" for index in range(self.given["pairs"])]
        self.seeds = Seeds(self.given["seed"], len(self.pairs)).base
        of_prompts = [[p for p in self.pairs if self._prompt(p) == k] for k in range(len(self.prompts))]
        # Pairs of the same prompts, a few at a time; both ends of an interpolation together.
        size = _BATCH if self.redraw is None else _INTERPOLATED
        self.batches = [own[start : start + size] for own in of_prompts for start in range(0, len(own), size)]
        self.units = [*(["precision"] if self.given["paper"] else []), *(p for batch in self.batches for p in batch)]
        self.first = self._sampler(self.prompts[0][0])
        self.device, shape = self.first.device, self.first.latent_shape
        if len(shape) < 2 or None in shape:
            raise InputError(f"a sampler of points (channels, *space) of known size expected, got {shape}")
        self.shape = tuple(size for size in shape if size is not None)
        subspace_dimension(self.given["dimension"], prod(self.shape))
        self.student = self._opened_student()
        with torch.no_grad():
            for condition in (condition for pair in self.prompts for condition in pair):
                self._sampler(condition)(self._noise(self.pairs[:1]))

    def _opened_student(self) -> Any:
        """The student, once it has run under a condition; None where none is given.

        Raises:
            InputError: its points have another shape: no noise is the same for both.
        """
        import torch

        from theodolite.data.models import opened_denoiser

        if self.given["student"] is None:
            return None
        try:
            student = opened_denoiser(self.given["student"], self.kind, device=self.given["device"])
        except InputError as error:
            raise InputError(f"--student: {error}") from error
        sampler = self._sampler(self.prompts[0][0], student)
        if sampler.latent_shape != self.first.latent_shape:
            raise InputError(
                f"a student of points {tuple(self.shape)} expected, as {self.name} has, got {sampler.latent_shape}"
            )
        with torch.no_grad():
            sampler(self._noise(self.pairs[:1]))
        return student

    def _prompt(self, pair: str) -> int:
        """Which prompts a pair has: two successive ones share them."""
        return self.pairs.index(pair) // 2 % len(self.prompts)

    def record(self) -> dict[str, Any]:
        """The model, and the conditions of each pair of prompts."""
        from theodolite.data.conditions import word_of

        model = {"name": self.name, "fingerprint": self.first.fingerprint(), "shape": [*self.shape]}
        record = {"model": model, "prompts": [[word_of(side) for side in pair] for pair in self.prompts]}
        return record if self.student is None else {**record, "student": self.student.name}

    def content(self) -> dict[str, Any]:
        """The fingerprints of the model and of its student."""
        content = {"model": self.first.fingerprint()}
        if self.student is not None:
            content["student"] = self._sampler(self.prompts[0][0], self.student).fingerprint()
        return content

    def checked_map(self) -> tuple[LatentMap, Tensor, str] | None:
        """The first sampler at up to three noises; none for the paper's forward differences."""
        return None if self.given["paper"] else (self.first, self._noise(self.pairs[:3]), self.name)

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """One pair, with those of its batch, which are handed out as they are asked for; or what differences do."""
        if unit == "precision":
            return Piece(self._precision())
        if unit not in self._measured:
            batch = next(batch for batch in self.batches if unit in batch)
            sitting.tell(f"with {len(batch) - 1} more of the same conditions")
            try:
                self._measured = dict(self._measure(batch))
            except Exception as error:  # whatever the model raises: it is the failure of every pair of the batch
                self._measured = dict.fromkeys(batch, error)
        piece = self._measured[unit]
        if isinstance(piece, Exception):
            raise piece
        return piece

    def _measure(self, batch: Sequence[str]) -> dict[str, Piece]:
        """Every pair of a batch under all conditions, then by the student at the same noises and subspaces."""
        import torch

        from theodolite.data.conditions import pictures_of, word_of
        from theodolite.descriptors.hotspots import overlap_of_maps
        from theodolite.descriptors.paths import tortuosity_by_twos
        from theodolite.estimates import Estimate

        z, mode = self._noise(batch), "paper" if self.given["paper"] else "exact"
        pieces: dict[str, Any] = {pair: ([], {}, {}) for pair in batch}
        messages: dict[str, str] = {}
        for kind, condition, student in self._sides(self.prompts[self._prompt(batch[0])]):
            sampler, model = self._sampler(condition, student), self.model if student is None else student
            more, images = dict[str, Estimate](), None
            with torch.no_grad():
                measured = self._decoupling(sampler, batch, mode=mode, neighbours=self.given["neighbours"])
                if student is None:
                    more = {**overlap_of_maps(measured), **tortuosity_by_twos(sampler, z)}
                    images = pictures_of(model, measured.outputs)
                recognised = getattr(model, "recognised", None)  # by a classifier, if it has one
                if recognised is not None and condition is not None:
                    more["recognised"] = Estimate.exact(recognised(measured.outputs, condition).double().cpu())
            coordinates = {"condition": kind, "prompt": None if condition is None else word_of(condition)}
            for index, pair in enumerate(batch):
                rows, arrays, pictures = pieces[pair]
                rows += numbers({**measured.quantities, **more}, index, **coordinates)
                if student is None:
                    arrays |= {f"{kind}/{name}": values[index].float() for name, values in measured.maps.items()}
                pictures |= {kind: images[index]} if images else {}
            if student is None:
                messages |= {name: own.message for name, own in measured.quantities.items() if own.message}
        return {pair: Piece(rows, arrays, shown, messages=messages) for pair, (rows, arrays, shown) in pieces.items()}

    def _sides(self, prompts: Sequence[Any]) -> list[tuple[str, Any, Any]]:
        """What a pair is measured under: word, condition, and the student where it is not the model."""
        sides = [*zip(KINDS if self.given["null"] else KINDS[:2], (*prompts, None), (None, None, None))]
        if self.student is not None:
            sides += [(f"{STUDENT}{kind}", condition, self.student) for kind, condition in zip(KINDS, prompts)]
        return sides

    def _precision(self) -> list[Row]:
        """What differences make of the first noise."""
        import torch

        from theodolite.descriptors.differencing import precision_of_differences

        first = self.pairs[:1]
        options = {"dimension": self.given["dimension"], "generator": self._seeds(first)}
        with torch.no_grad():
            by_step = precision_of_differences(self.first, self._noise(first), **options)
        return [row for step, estimates in by_step.items() for row in numbers(estimates, step=step)]

    def _decoupling(self, sampler: LatentMap, batch: Sequence[str], **recipe: Any) -> Decoupling:
        import torch

        from theodolite.descriptors.decoupling import decoupling

        options = {"dimension": self.given["dimension"], "generator": self._seeds(batch)}
        with torch.no_grad():
            return decoupling(sampler, self._noise(batch), **options, **recipe)

    def _sampler(self, condition: Any, student: Any = None) -> LatentMap:
        """The sampler of the model under a condition, or the student's own, which was distilled from a guided one."""
        from theodolite.data.conditions import value_of
        from theodolite.maps import sampler_map

        if student is not None:
            return sampler_map(
                student, self.given["student_steps"], self.given["method"], condition=value_of(condition)
            )
        guidance = 0.0 if condition is None else self.given["guidance"]  # 0 is the null condition alone
        prompt = self.prompts[0][0] if condition is None else condition
        options = {"condition": value_of(prompt), "guidance": guidance, "unconditional": self.unconditional}
        return sampler_map(self.model, self.given["steps"], self.given["method"], **options)

    def _seeds(self, batch: Sequence[str]) -> list[int]:
        return [self.seeds[self.pairs.index(pair)] for pair in batch]

    def _noise(self, batch: Sequence[str]) -> Tensor:
        from theodolite.estimates import Seeds

        draws = Seeds(self._seeds(batch), len(batch)).normal("noise", *self.shape)
        return draws.to(self.first.device, self.first.dtype)

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """Claims with their numbers and verdicts; shares of hotspots, and the pictures of those that have most."""
        from theodolite.experiments.decouple.pairs import Pairs

        pairs = Pairs(run)
        return Derived([*pairs.claim_rows(), *pairs.hotspot_rows()], {"claims": pairs.verdicts()}, pairs.overlays())

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """The words of its quantities."""
        from theodolite.descriptors.decoupling import MEANINGS
        from theodolite.descriptors.differencing import QUANTITIES as OF_DIFFERENCES
        from theodolite.descriptors.hotspots import OVERLAP
        from theodolite.descriptors.paths import WORDS
        from theodolite.detection.claim_columns import QUANTITIES
        from theodolite.experiments.hotspots.shares import QUANTITIES as SHARES

        return {**SHARES, **MEANINGS, **{own.name: own for own in (*WORDS, *OVERLAP)}, **QUANTITIES, **OF_DIFFERENCES}


EXPERIMENT = Decouple
