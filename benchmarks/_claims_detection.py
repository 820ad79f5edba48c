"""Claims about unusual samples: out of distribution (C5), memorised (C6), and whether ψ alone would do (C10)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from _claims import DESCRIPTORS, Row, auroc, bootstrapped, described, linked, margin, off
from _levels import both, peers, report
from theodolite.derivatives import jacobian
from theodolite.detection import DetectionTable, evaluate, pixel_energy, reconstruction_error, score_norm
from theodolite.maps import denoiser_map
from theodolite.scores import NetworkScore
from theodolite.zoo import load_autoencoder, memorised_set, pixel_diffusion

__all__ = ["memorised", "memorised_zoo", "redundant", "unseen"]

LEVELS = (0.1, 0.2, 0.4, 0.8, 1.6)
_BASELINES = ("reconstruction_error", "score_norm", "pixel_energy")


@functools.cache
def _digits() -> tuple[Tensor, Tensor]:
    """The 8x8 digits in [-1, 1], `(n, 1, 8, 8)`, and those the zoo's autoencoder was not trained on."""
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1
    return images, images[::5]


def _clothes(data: Path, n: int) -> Tensor | None:
    """Images of Fashion-MNIST shrunk to 8x8."""
    file = data / "fashion_mnist_test.npz"
    if not file.exists():
        print(f"C5, C10: no {file}, so without Fashion-MNIST")
        return None
    grey = torch.from_numpy(np.load(file)["images"][:n]).float()[:, None]
    return F.interpolate(grey, size=(8, 8), mode="area") / 127.5 - 1


def _others(data: Path, held_out: Tensor) -> Iterator[tuple[str, Tensor]]:
    """What the digits' models did not see, as many as `held_out`, whose corruptions are among them."""
    draw = torch.Generator().manual_seed(0)
    n = len(held_out)
    clothes = _clothes(data, n)
    if clothes is not None:
        yield "Fashion-MNIST", clothes
    yield "uniform noise", 2 * torch.rand(held_out.shape, generator=draw) - 1
    yield "inverted digits", -held_out
    order = torch.rand(n, 64, generator=draw).argsort(1)
    yield "shuffled digits", held_out.flatten(1).gather(1, order).reshape(held_out.shape)
    yield "digits + noise 0.3", (held_out + 0.3 * torch.randn(held_out.shape, generator=draw)).clamp(-1, 1)
    yield "blurred digits", F.avg_pool2d(F.pad(held_out, (1, 1, 1, 1), mode="replicate"), 3, 1)


@functools.cache
def _decoder_scores(data: Path, n: int) -> dict[str, tuple[DetectionTable, dict[str, Tensor], list[int]]]:
    """Scores of the zoo's digits decoder: held-out digits against each kind of other images."""
    _, held_out = _digits()
    normal, found = held_out[:n], {}
    for name, unusual in _others(data, held_out[n : 2 * n]):
        scores = _scored(torch.cat([normal, unusual]))
        labels = [0] * len(normal) + [1] * len(unusual)
        found[name] = (evaluate(scores, labels), scores, labels)
    return found


def _scored(images: Tensor) -> dict[str, Tensor]:
    model = load_autoencoder("digits")
    with torch.no_grad():
        latents = model.encode(images)
    baselines = {
        "reconstruction_error": reconstruction_error(model, images),
        "score_norm": score_norm(latents),
        "pixel_energy": pixel_energy(images),
    }
    found = described(model.decoder, latents, radius=0.05)
    return {name: values.value.double() for name, values in {**found, **baselines}.items()}


def unseen(n: int, data: Path, steps: int) -> list[Row]:
    """C5: the zoo's digits decoder, then a denoiser trained on digits, against images of other kinds."""
    rows = []
    for name, (table, _, _) in _decoder_scores(data, n).items():
        for score in (*DESCRIPTORS, *_BASELINES):
            text = f"AUROC of {DESCRIPTORS.get(score, score)}, decoder, {name}"
            number = auroc(table, score)
            rows.append(off("C5", text, n, number) if score in DESCRIPTORS else Row("C5", text, n, number))
        gain = margin((table, "local_scaling"), (table, "reconstruction_error"))
        rows.append(Row("C5", f"distance of AUROC from ½ of ψ less of the reconstruction error, {name}", n, gain))
    return [*rows, *_unseen_by_denoiser(n, data, steps)]


def _unseen_by_denoiser(n: int, data: Path, steps: int) -> list[Row]:
    score, _, training = _denoiser(steps, 50)
    _, held_out = _digits()
    clothes = _clothes(data, n)
    if clothes is None:
        return []
    normal = held_out[: len(clothes)].flatten(1)
    found = both(score, LEVELS, normal, clothes.flatten(1), baselines=peers(score, training))
    report("C5: Fashion-MNIST against digits, trained denoiser", found)
    return _at(found, "C5", "denoiser, Fashion-MNIST", len(clothes))


def _at(found: dict[str, object], claim: str, text: str, n: int, level: float = 0.4) -> list[Row]:
    """Rows at one level, chosen before looking: ψ of both maps and the two peers."""
    place = LEVELS.index(level)
    rows = [
        off(claim, f"AUROC at σ = {level:g} of {symbol} of the {output}-map, {text}", n, auroc(one.tables[place], name))
        for output, one in found.items()
        for name, symbol in (("local_scaling", "ψ"), ("local_rank", "ν"))
    ]
    table = found["eps"].tables[place]
    for name in table.names[2:]:
        rows.append(Row(claim, f"AUROC at σ = {level:g} of the {name}, {text}", n, auroc(table, name)))
        gain = margin((table, "local_scaling"), (table, name))
        rows.append(Row(claim, f"distance of AUROC from ½ of ψ (eps) less of the {name}, {text}", n, gain))
    return rows


@functools.cache
def _denoiser(steps: int, duplicates: int) -> tuple[NetworkScore, Tensor, Tensor]:
    """A denoiser of digits, 40 of them held many times; those and 960 held once are what it was trained on."""
    images, _ = _digits()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    order = order[order % 5 != 0]  # the others judge C5
    known = images[order[:1000]].flatten(1)
    cloud = torch.cat([known[:40].repeat(duplicates, 1), known[40:]])
    score = NetworkScore.fit(cloud, t_min=0.003, held_out=cloud[::10], steps=steps, generator=0)
    return score, known[:40], known


def memorised(n: int, steps: int) -> list[Row]:
    """C6: digits held fifty times against digits held once, a multilayer perceptron."""
    score, repeated, known = _denoiser(steps, 50)
    n = min(n, len(repeated))
    found = both(score, LEVELS, known[40 : 40 + 3 * n], repeated[:n], baselines=peers(score, known))
    report("C6: digits held 50 times against digits held once, trained denoiser", found)
    return _at(found, "C6", "digits held 50 times", n)


def memorised_zoo(n: int, draws: int, sigmas: tuple[float, ...] = (0.3, 1.0)) -> list[Row]:
    """C6: the zoo's `coloured-memorised`: does it hold its eight images at all, and do exact Jacobians see them?"""
    denoiser = pixel_diffusion(memorised=True).denoiser
    images, labels, copies = memorised_set()
    chosen = torch.cat([torch.nonzero(copies == 1)[:n, 0], torch.nonzero(copies > 1)[:, 0]])
    unusual = [0] * n + [1] * (len(chosen) - n)
    noise = torch.randn(len(chosen), *images.shape[1:], generator=torch.Generator().manual_seed(0))
    rows = _recalled(images, copies, draws)
    for sigma in sigmas:
        for kind in ("no", "its own"):
            conditions = labels[chosen] if kind == "its own" else None
            table = evaluate(_exactly(denoiser, images[chosen], noise, sigma, conditions), unusual)
            text = f"coloured-memorised, σ = {sigma:g}, {kind} condition"
            rows.append(off("C6", f"AUROC of ψ of the eps-map, {text}", 8, auroc(table, "psi_eps")))
            rows.append(off("C6", f"AUROC of ψ of the x0-map, {text}", 8, auroc(table, "psi_x0")))
            rows.append(Row("C6", f"AUROC of minus the denoising error, {text}", 8, auroc(table, "minus_error")))
            rows.append(Row("C6", f"AUROC of the score norm, {text}", 8, auroc(table, "score_norm")))
    return rows


def _recalled(images: Tensor, copies: Tensor, draws: int) -> list[Row]:
    """Of unconditional samples, the share whose nearest training image is one of the eight: 800 / 2,792 if recalled."""
    rows = []
    for name, model in (
        ("coloured-memorised", pixel_diffusion(memorised=True)),
        ("coloured-pixels", pixel_diffusion()),
    ):
        noise = torch.randn(draws, *model.shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            samples = model.sampler(steps=18)(noise)
        nearest = torch.cdist(samples.flatten(1), images.flatten(1)).min(-1)
        share = (copies[nearest.indices] > 1).double()
        distance = float(nearest.values.median())
        text = f"share of samples of {name} nearest to one of the eight (median distance {distance:.1f})"
        rows.append(Row("C6", text, draws, bootstrapped(lambda rows: share[rows].mean(), draws)))  # noqa: B023
    return rows


def _exactly(
    denoiser: torch.nn.Module, clean: Tensor, noise: Tensor, sigma: float, conditions: Tensor | None
) -> dict[str, Tensor]:
    """ψ of both maps from one dense Jacobian a point, in float64 from float32 products; and two baselines."""
    noisy, found = clean + sigma * noise, {"psi_eps": [], "psi_x0": [], "minus_error": [], "score_norm": []}
    for place in range(len(noisy)):
        condition = None if conditions is None else conditions[place : place + 1]
        J = jacobian(denoiser_map(denoiser, sigma, "x0", condition=condition), noisy[place : place + 1])
        dense, D = J.dense()[0].double(), J.outputs.reshape(clean[place].shape)
        eye = torch.eye(len(dense), dtype=dense.dtype)
        found["psi_x0"].append(_floored(dense))
        found["psi_eps"].append(_floored((eye - dense) / sigma))
        found["minus_error"].append(-(D - clean[place]).square().mean().double())
        found["score_norm"].append((D - noisy[place]).norm().double() / sigma**2)
    return {name: torch.stack(values) for name, values in found.items()}


def _floored(J: Tensor) -> Tensor:
    return torch.linalg.svdvals(J).clamp_min(1e-8).log().sum()


def redundant(n: int, data: Path) -> list[Row]:
    """C10: rank correlations of ψ, ν and δ on held-out digits, and the AUROC that ν and δ add to ψ."""
    rows, found = [], _decoder_scores(data, n)
    for name in ("local_rank", "local_complexity"):
        for place, (kind, (_, scores, labels)) in enumerate(found.items()):
            if place == 0:
                x, y = (scores[one][: labels.count(0)] for one in ("local_scaling", name))
                number = linked(x, y)
                rows.append(Row("C10", f"Spearman of ψ and {DESCRIPTORS[name]}, held-out digits", len(x), number))
            table = evaluate({"with": _combined(scores, labels, name), "ψ": _combined(scores, labels)}, labels)
            number = table.difference("with", "ψ")[0]
            text = f"AUROC of ψ and {DESCRIPTORS[name]} together less of ψ ({table['ψ']['auroc']:.2f}), {kind}"
            rows.append(Row("C10", text, n, number))
    return rows


def _combined(scores: dict[str, Tensor], labels: list[int], *more: str) -> Tensor:
    """Out-of-fold log odds of a logistic regression on standardised scores, ten folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X = torch.stack([scores[name] for name in ("local_scaling", *more)], -1).nan_to_num(0.0).numpy()
    folds = StratifiedKFold(min(10, min(labels.count(0), labels.count(1))), shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return torch.from_numpy(cross_val_predict(model, X, labels, cv=folds, method="decision_function"))
