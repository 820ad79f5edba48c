"""`decouple`: the experiment of the decoupling paper on a conditional sampler, with same-seed pairs of conditions."""

from __future__ import annotations

import math
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import theodolite
from theodolite.data.conditions import MODEL, loaded_diffusion, pictures_of, prompts_of, text_of, word_of
from theodolite.errors import InputError, path_of
from theodolite.surveys.decoupling_rows import overlap_of, plain_rows, rows_of
from theodolite.surveys.progress import Progress, silent
from theodolite.surveys.store import FORMAT, RunFolder, read_info, read_rows

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from theodolite.descriptors.decoupling import Decoupling
    from theodolite.maps import LatentMap
    from theodolite.surveys.decoupled import Decoupled

__all__ = ["decouple"]

_BATCH = 14
_CHECKED_AT = 3
_DEFAULTS: Mapping[str, Any] = {
    "conditions": None,
    "pairs": 24,
    "steps": 12,
    "guidance": 2.0,
    "method": "ddim",
    "dimension": None,
    "neighbours": 8,
    "paper": False,
    "null": True,
    "seed": 0,
    "subfolder": None,
    "revision": None,
    "device": None,
    "dtype": None,
}
"""Settings with their defaults."""


def decouple(
    model: Any = MODEL,
    out: str | os.PathLike[str] = "runs/decouple",
    *,
    conditions: str | Sequence[tuple[Any, Any]] | None = None,
    pairs: int = 24,
    steps: int = 12,
    guidance: float = 2.0,
    method: str = "ddim",
    dimension: int | None = None,
    neighbours: int = 8,
    paper: bool = False,
    null: bool = True,
    seed: int = 0,
    subfolder: str | None = None,
    revision: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Decoupled:
    """LS, LC and PHFE of a sampler under normal and unusual conditions with the same noise, and claims C1 to C8.

    Pair `i` has one noise `z`, one subspace `W` and one set of neighbours, used under a normal and an unusual condition
    and under none. Every two successive pairs share their conditions and are the ends of one interpolation. Quantities
    are those of `theodolite.descriptors.decoupling`, claims those of docs/decoupling.md. Finished pairs are stored: the
    same call goes on where it stopped.

    Args:
        model: what `theodolite.load` takes for a diffusion model, or one that was loaded.
        out: the run folder: new, empty, or one of the same configuration.
        conditions: pairs of a normal and an unusual condition, or text such as ``3-red/3-yellow,4-blue/4-red`` (of
            the zoo), ``3-red/3-red+8-red`` (the mean of two embeddings) or ``207/360`` (classes); by default what the
            zoo's model was trained on and what was held out.
        pairs: how many seeds, at least two.
        steps: of the sampler.
        guidance: of both conditions; 1 for none.
        method: ``ddim``, ``euler`` or ``heun``.
        dimension: of the subspace, `min(64, D / 4)` by default.
        neighbours: of LC.
        paper: forward differences as in the released code, in place of exact products.
        null: measure without a condition too.
        seed: of noise, subspaces and resampling.
        subfolder: of the model's folder or hub repository, for a model that is named.
        revision: of the hub repository.
        device: as in torch, for a model that is named.
        dtype: ``float32`` or ``float64``, for a model that is named.
        progress: called with (finished pairs, all, what begins).

    Returns:
        `Decoupled`. Cost of a condition of a pair: `k + 6 neighbours + 19` runs of the sampler (``paper``
        `2 (k + 1) + 19`). Before them the derivatives of the first sampler are checked in float64, about 50 runs of it,
        150 where they fail; where they are wrong no number that rests on them is better than ``undetermined``.

    Raises:
        InputError: before long work starts: no diffusion model, conditions it does not take, no free run folder,
            a sampler that cannot be differentiated.
        KeyboardInterrupt: on Ctrl-C; what is finished is kept.
    """
    settings = {name: value for name, value in locals().items() if name in _DEFAULTS}
    settings |= {name: None if settings[name] is None else str(settings[name]) for name in ("device", "dtype")}
    _check_settings(settings)
    folder = RunFolder(path_of(out, "the run folder"))
    exists = folder.check()
    loaded = loaded_diffusion(model, subfolder=subfolder, revision=revision, device=device, dtype=dtype)
    work = _Experiment(loaded, prompts_of(loaded, conditions), settings)
    name = os.fspath(model) if isinstance(model, str | os.PathLike) else getattr(model, "name", type(model).__name__)
    return work.run(folder, exists, _command(name, out, settings), progress or silent)


@dataclass(frozen=True)
class _Side:
    """One condition of a batch: ``normal``, ``unusual`` or ``null``, and its sampler."""

    kind: str
    sampler: LatentMap


class _Experiment:
    """A model, prompts and settings that were checked."""

    def __init__(self, model: Any, prompts: list[tuple[Any, Any]], settings: dict[str, Any]) -> None:
        from theodolite.estimates import Seeds

        self.model, self.prompts = model, prompts
        self.settings = {**settings, "conditions": text_of(prompts)}
        self.samples = [f"pair-{place:04d}" for place in range(settings["pairs"])]
        self.seeds = Seeds(settings["seed"], settings["pairs"]).base
        self._check_sampler()

    @cached_property
    def first(self) -> LatentMap:
        """The sampler of the first normal condition."""
        return self._sampler(self.prompts[0][0])

    def prompt(self, place: int) -> int:
        """Which prompts a pair has: two successive ones share them."""
        return place // 2 % len(self.prompts)

    def run(self, folder: RunFolder, exists: bool, command: str, progress: Progress) -> Decoupled:
        """Measure what is missing, and read the run."""
        from theodolite.surveys.decoupled import read_decoupling

        info = self._record(command)
        if exists:
            there = read_info(folder.path)
            _refuse_another(folder, there, info)
            info |= {name: there.get(name) for name in ("created", "precision", "self_check")}
        info["self_check"] = info["self_check"] or self._self_checked()
        folder.make()
        with folder.locked():
            folder.tidy()
            done = read_rows(folder.path)[1]
            if exists and len(done) == len(self.samples) and there["status"] == "complete":
                return read_decoupling(folder.path)
            folder.write_info({**info, "status": "running"})
            try:
                info["precision"] = info["precision"] or self._precision()
                self._measure(folder, info, set(done), progress)
            except BaseException:
                self._finish(folder, info, "interrupted")
                raise
            self._finish(folder, info, "complete")
        return read_decoupling(folder.path)

    def _finish(self, folder: RunFolder, info: Mapping[str, Any], status: str) -> None:
        from theodolite.surveys.record import now

        folder.merge(self.samples)
        notes = read_rows(folder.path)[1].values()
        timing = {"seconds": round(sum(note["seconds"] for note in notes), 3)}
        folder.write_info({**info, "status": status, "finished": now(), "timing": timing})

    def _self_checked(self) -> dict[str, Any] | None:
        """Of the first sampler at up to three noises; None for the paper's forward differences."""
        from theodolite.surveys.self_checked import self_checked

        if self.settings["paper"]:
            return None
        return self_checked(self.first, self._noise(range(min(_CHECKED_AT, len(self.samples)))), self.name).as_dict()

    def _measure(self, folder: RunFolder, info: Mapping[str, Any], done: set[str], progress: Progress) -> None:
        finished, total = len(done), len(self.samples)
        progress(finished, total, "")
        for batch in self._batches():
            missing = [self.samples[place] for place in batch if self.samples[place] not in done]
            if not missing:
                continue
            started = time.monotonic()
            found = self._measured(batch, info)
            seconds = (time.monotonic() - started) / len(batch)
            for sample in missing:
                rows, arrays, pictures = found[sample]
                folder.write_shard(sample, rows, arrays, pictures, {"seconds": seconds})
                finished += 1
                progress(finished, total, sample)

    def _batches(self) -> Iterator[list[int]]:
        """Pairs of the same prompts, a few at a time; both ends of an interpolation together."""
        for prompt in range(len(self.prompts)):
            places = [place for place in range(len(self.samples)) if self.prompt(place) == prompt]
            for start in range(0, len(places), _BATCH):
                yield places[start : start + _BATCH]

    def _measured(
        self, batch: Sequence[int], info: Mapping[str, Any]
    ) -> dict[str, tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]]:
        """Rows, maps and pictures of every pair of a batch, under all conditions."""
        import torch

        from theodolite.surveys.self_checked import worsened

        z = self._noise(batch)
        found: dict[str, Any] = {self.samples[place]: ([], {}, {}) for place in batch}
        for side in self._sides(self.prompt(batch[0])):
            with torch.no_grad():
                measured = self._decoupling(side.sampler, z, batch)
                overlap, more = overlap_of(measured), self._paths(side.sampler, z)
                more |= self._recognised(side, batch, measured)
            pictures = pictures_of(self.model, measured.outputs)
            for row, place in enumerate(batch):
                rows, arrays, images = found[self.samples[place]]
                common = {"model": self.name, "sample": self.samples[place], "map": side.kind, "sigma": None}
                entries = [*worsened(rows_of(measured, overlap, row), info), *plain_rows(more, row)]
                rows += [{**common, **entry} for entry in entries]
                arrays |= {f"{side.kind}/{name}": values[row].float() for name, values in measured.maps.items()}
                images |= {f".{side.kind}.png": pictures[row]} if pictures else {}
        return found

    def _decoupling(self, sampler: LatentMap, z: Tensor, batch: Sequence[int]) -> Decoupling:
        from theodolite.descriptors.decoupling import decoupling

        return decoupling(
            sampler,
            z,
            dimension=self.settings["dimension"],
            neighbours=self.settings["neighbours"],
            mode="paper" if self.settings["paper"] else "exact",
            generator=[self.seeds[place] for place in batch],
        )

    def _paths(self, sampler: LatentMap, z: Tensor) -> dict[str, Tensor]:
        """Tortuosity and jump score, at the first of every two pairs; NaN at the second."""
        import torch

        from theodolite.descriptors.paths import tortuosity

        count = len(z) // 2
        values = torch.full((2, len(z)), torch.nan, dtype=torch.float64)
        if count:
            found = tortuosity(sampler, z[0 : 2 * count : 2], z[1 : 2 * count : 2])
            values[:, 0 : 2 * count : 2] = torch.stack([found.value, found["jump"].value]).cpu()
        return {"tortuosity": values[0], "jump": values[1]}

    def _recognised(self, side: _Side, batch: Sequence[int], measured: Decoupling) -> dict[str, Tensor]:
        """Whether the classifier of the model, where it has one, sees in a sample what was asked for."""
        recognised = getattr(self.model, "recognised", None)
        if recognised is None or side.kind == "null":
            return {}
        asked = self.prompts[self.prompt(batch[0])][side.kind == "unusual"]
        return {"recognised": recognised(measured.outputs, asked).double().cpu()}

    def _sides(self, prompt: int) -> Iterator[_Side]:
        normal, unusual = self.prompts[prompt]
        yield _Side("normal", self._sampler(normal))
        yield _Side("unusual", self._sampler(unusual))
        if self.settings["null"]:
            yield _Side("null", self._sampler(None))

    def _sampler(self, condition: Any) -> LatentMap:
        from theodolite.maps import sampler_map
        from theodolite.maps.diffusion import Diffusion

        guidance = self.settings["guidance"] if condition is not None else 1.0
        if condition is None and isinstance(self.model, Diffusion):  # guidance 0 is its own null condition alone
            condition, guidance = self.prompts[0][0], 0.0
        options = {"condition": condition, "guidance": guidance}
        return sampler_map(self.model, self.settings["steps"], self.settings["method"], **options)

    def _noise(self, batch: Sequence[int]) -> Tensor:
        from theodolite.estimates import Seeds

        shape: Any = self.first.latent_shape
        draws = Seeds([self.seeds[place] for place in batch], len(batch)).normal("noise", *shape)
        return draws.to(device=self.first.device, dtype=self.first.dtype)

    def _precision(self) -> list[dict[str, Any]]:
        """What differences make of the first noise: LS, LC and PHFE over their exact values, by step; not if exact."""
        import torch

        from theodolite.descriptors.decoupling import decoupling

        if not self.settings["paper"]:
            return []
        z, options = self._noise([0]), {"dimension": self.settings["dimension"], "generator": [self.seeds[0]]}
        with torch.no_grad():
            exact = decoupling(self.first, z, **options)
            found = []
            for step in (0.01, 0.02, 0.04):
                one = decoupling(self.first, z, mode="paper", step=step, **options)
                ratios = {name: float(one.quantities[name].value / exact.quantities[name].value) for name in _CHECKED}
                checks = {name: float(one.quantities[name].value) for name in ("ones_cosine", "linearity")}
                found.append({"step": step, **ratios, **checks})
        return found

    def _check_sampler(self) -> None:
        from theodolite.descriptors.decoupling import subspace_dimension

        shape = self.first.latent_shape
        if len(shape) < 2 or None in shape:
            raise InputError(f"a sampler of points (channels, *space) of known size expected, got {shape}")
        subspace_dimension(self.settings["dimension"], self._noise([0]).numel())
        for condition in (condition for prompts in self.prompts for condition in prompts):
            self._sampler(condition)(self._noise([0]))

    @property
    def name(self) -> str:
        """Of the model."""
        return str(getattr(self.model, "name", type(self.model).__name__))

    def _record(self, command: str) -> dict[str, Any]:
        from theodolite.surveys.record import machine, now, versions

        shape = list(self.first.latent_shape)
        return {
            "format": FORMAT,
            "kind": "decouple",
            "theodolite": theodolite.__version__,
            "command": command,
            "created": now(),
            "settings": self.settings,
            "model": {"name": self.name, "fingerprint": self.first.fingerprint(), "shape": shape},
            "prompts": [[word_of(side) for side in prompts] for prompts in self.prompts],
            "data": {"samples": self.samples, "prompts": [self.prompt(place) for place in range(len(self.samples))]},
            "precision": None,
            "self_check": None,
            "versions": versions(),
            "machine": machine(self.first.device),
        }


_CHECKED = ("ls_max", "lc", "phfe")


def _check_settings(settings: Mapping[str, Any]) -> None:
    for name, least in (("pairs", 2), ("steps", 1), ("neighbours", 1)):
        value = settings[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"`{name}` expected to be a number of {least} or more, got {value!r}")
    guidance = settings["guidance"]
    if isinstance(guidance, bool) or not isinstance(guidance, int | float) or not math.isfinite(guidance):
        raise InputError(f"`guidance` expected to be a finite number, got {guidance!r}; 1 is none")


def _refuse_another(folder: RunFolder, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    if there.get("kind") != "decouple":
        raise InputError(f"{folder.path} holds another kind of run; give another --out")
    found = [
        f"{name} {there['settings'].get(name)} there, {value} here"
        for name, value in here["settings"].items()
        if there["settings"].get(name) != value and name != "device"
    ]
    if there["model"]["fingerprint"] != here["model"]["fingerprint"]:
        found.append("another model")
    if found:
        raise InputError(
            f"{folder.path} holds a run of another configuration ({'; '.join(found)}); give another --out, or repeat "
            "its command to go on"
        )


def _command(model: str, out: Any, settings: Mapping[str, Any]) -> str:
    """The command line that repeats, and so resumes."""
    words = ["theodolite", "decouple", model, "--out", os.fspath(out)]
    for name, default in _DEFAULTS.items():
        value = settings[name]
        if value == default:
            continue
        if name in ("paper", "null"):
            words.append("--paper-mode" if name == "paper" else "--no-null")
        else:
            words += [
                f"--{name}",
                value if isinstance(value, str) else text_of(value) if name == "conditions" else str(value),
            ]
    return shlex.join(words)
