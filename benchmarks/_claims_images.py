"""Claims about images: visual complexity (C7), diversity of classes (C8), guidance by local scaling (C9)."""

from __future__ import annotations

import io
from collections.abc import Hashable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from _claims import DESCRIPTORS, Row, above, described, linked
from theodolite import local_scaling, sampler_map
from theodolite.data.images import find_images, load_file
from theodolite.data.sources import sources_of
from theodolite.descriptors import Effort
from theodolite.estimates import Estimate
from theodolite.maps import Autoencoder
from theodolite.steering import Judge, fit_reward, sweep
from theodolite.steering.properties import PROPERTIES
from theodolite.steering.quality import diversity
from theodolite.zoo import bundled_images, coloured_digits, conditional_diffusion, load_autoencoder
from theodolite.zoo.coloured import CONDITIONS, labels_of

__all__ = ["classes", "complexity", "guided"]


def complexity(n: int, folder: Path | None) -> list[Row]:
    """C7: ψ, ν and δ of decoders against total variation and size as PNG, also given contrast and brightness."""
    labels = labels_of(list(CONDITIONS)).repeat(-(-n // len(CONDITIONS)), 1)[:n]
    digits = coloured_digits(labels, held_out=True, generator=0)[0]
    rows = _followed("coloured digits", conditional_diffusion().autoencoder, digits, range(n))
    photographs, sources = _photographs(folder, n)
    return [*rows, *_followed("photographs", load_autoencoder("patches-plain"), photographs, sources)]


def _photographs(folder: Path | None, n: int) -> tuple[Tensor, list[str]]:
    """Crops at 32 pixels and their sources: of the folder, or those that ship."""
    where = folder if folder is not None and folder.is_dir() else bundled_images()
    files = find_images(where).files
    sources = sources_of([image.file for image in files])
    turns = [sources[:place].count(source) for place, source in enumerate(sources)]
    chosen = sorted(range(len(files)), key=lambda place: turns[place])[:n]
    return torch.cat([load_file(files[place], channels=3, size=32) for place in chosen]), [
        sources[place] for place in chosen
    ]


def _followed(kind: str, model: Autoencoder, images: Tensor, groups: Sequence[Hashable]) -> list[Row]:
    with torch.no_grad():
        latents = model.encode(images)
    found = described(model.decoder, latents)
    plain = [PROPERTIES[name](images) for name in ("contrast", "brightness")]
    controls = {"": [], " given contrast": plain[:1], " given contrast and brightness": plain}
    count, rows = len(set(groups)), []
    for what, measure in (("TV", _variation(images)), ("PNG size", _png_sizes(images))):
        for name, symbol in DESCRIPTORS.items():
            x = found[name].value.double()
            for words, given in controls.items():
                number = linked(x, measure, given, groups)
                rows.append(above("C7", f"Spearman of {symbol} and {what}{words}, {kind}", count, number, 0))
    return rows


def _variation(images: Tensor) -> Tensor:
    return images.diff(dim=-1).abs().flatten(1).mean(1) + images.diff(dim=-2).abs().flatten(1).mean(1)


def _png_sizes(images: Tensor) -> Tensor:
    sizes = []
    for image in ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG", optimize=True)
        sizes.append(file.tell())
    return torch.tensor(sizes, dtype=torch.float64)


def classes(each: int, conditions: Sequence[tuple[int, str]] = CONDITIONS) -> list[Row]:
    """C8: mean ψ of each condition's samples against their diversity; resampled by digit, of which there are ten."""
    model = conditional_diffusion()
    labels = labels_of(list(conditions)).repeat_interleave(each, 0)
    noise = torch.randn(len(labels), *model.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents = sampler_map(model, 12, condition=labels, guidance=1.5)(noise)
        images = model.decode(latents)
        features = model.classifier.features(images)
    psi = local_scaling(model.autoencoder.decoder, latents, generator=0).value.double().unflatten(0, (-1, each))
    contrast = PROPERTIES["contrast"](images).double().unflatten(0, (-1, each)).mean(1)
    measures = {
        "mean distance of pairs": lambda one: float(diversity(one).value),
        "Vendi score": _vendi,
    }
    digits, rows = [digit for digit, _ in conditions], []
    for name, measure in measures.items():
        spread = torch.tensor([measure(one) for one in features.unflatten(0, (-1, each))], dtype=torch.float64)
        for symbol, x in (("mean ψ", psi.mean(1)), ("mean contrast", contrast)):
            number = linked(x, spread, groups=digits)
            text, n = f"Spearman of {symbol} and {name}, {len(digits)} conditions by digit", len(set(digits))
            rows.append(above("C8", text, n, number, 0) if symbol == "mean ψ" else Row("C8", text, n, number))
    return rows


def _vendi(features: Tensor) -> float:
    """`exp` of the entropy of the eigenvalues of `K / n`, `K` the cosines (Friedman and Dieng 2023): 1 to n."""
    X = torch.nn.functional.normalize(features.double(), dim=-1)
    values = torch.linalg.eigvalsh(X @ X.mT / len(X)).clamp_min(1e-12)
    return float((-(values * values.log()).sum()).exp())


def guided(
    clean: int,
    samples: int,
    measured: int,
    steps: int,
    effort: Effort | None = None,
    levels: tuple[float, float] | None = None,
) -> list[Row]:
    """C9: true ψ at every step of the scale, diversity and Fréchet distance, beside a reward of brightness."""
    model = conditional_diffusion()
    noise, labels = _drawn(model.shape, CONDITIONS, clean)
    with torch.no_grad():
        points = sampler_map(model, 12, condition=labels, guidance=1.5)(noise)
        targets = {"brightness": PROPERTIES["brightness"](model.decode(points)).double()}
    targets["ψ"] = local_scaling(model.autoencoder.decoder, points, effort=effort, generator=0).value
    rewards = {name: fit_reward(points, target, steps=steps, generator=0) for name, target in targets.items()}
    noise, labels = _drawn(model.shape, CONDITIONS[::4], samples)
    found = sweep(
        model,
        model.autoencoder.decoder,
        rewards,
        (-0.2, 0.2),
        noise,
        Judge(**model.judging(labels)),
        measured=measured,
        condition=labels,
        guidance=1.5,
        levels=levels or rewards["ψ"].levels,
    )
    rows = []
    for name in ("ψ", "brightness"):
        for rho in (0.0, 0.2):
            number = found.estimates[name, rho, "local_scaling_step"]
            text = f"step of true ψ to rho = {rho:g}, guided by {name}, nats"
            rows.append(
                above("C9", text, measured, number, 0, fewest=3) if name == "ψ" else Row("C9", text, measured, number)
            )
    for quantity, sign in (("diversity", 1), ("frechet_distance", -1)):
        change = _change(found.estimates["ψ", 0.2, quantity], found.estimates["ψ", 0.0, quantity], sign)
        text = "gain in diversity" if sign == 1 else "fall of the Fréchet distance"
        rows.append(above("C9", f"{text}, rho 0 to 0.2, guided by ψ", samples, change, 0))
    return rows


def _drawn(shape: Sequence[int], conditions: Sequence[tuple[int, str]], n: int) -> tuple[Tensor, Tensor]:
    noise = torch.randn(n, *shape, generator=torch.Generator().manual_seed(len(conditions)))
    return noise, labels_of(list(conditions)).repeat(-(-n // len(conditions)), 1)[:n]


def _change(after: Estimate, before: Estimate, sign: int) -> Estimate:
    """A difference of two estimates from the same noise; their errors are added as if they were independent."""
    value = sign * float(after.value - before.value)
    reach = 1.96 * float((after.stderr.square() + before.stderr.square()).sqrt())
    return Estimate.between(value, value - reach, value + reach)
