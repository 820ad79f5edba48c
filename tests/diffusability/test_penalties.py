"""The penalties: linear encoders in closed form, what is refused, and two trained autoencoders."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from penalised import D, close, drawn, images, linear_pair, toy
from PIL import Image

import theodolite
from theodolite.diffusability import penalties
from theodolite.diffusability.penalty_table import Pool
from theodolite.errors import InputError
from theodolite.information import gaussian_information
from theodolite.zoo import bundled_images


def test_a_linear_encoder_compresses_and_distorts_only():
    A = torch.tensor([[1, 0.5, 0, 0], [0, 1, -0.3, 0.2]], dtype=D)
    stretches = torch.linalg.svdvals(A).square()
    found = penalties(linear_pair(A), images(drawn(12, 4, half_side=0.5)))
    close(found.compression, 2)
    close(found.compression["tangent_dimension"], 2)
    close(found.distortion, (stretches.var(correction=0) / stretches.mean().square()).item())
    close(found.distortion["within"], found.distortion.value.item())
    close(found.distortion["stretch"], stretches.mean().item())
    close(found.distortion["delta"], (stretches - 1).abs().max().item())
    close(found.distortion["log10_condition"], (stretches.max() / stretches.min()).log10().item())
    for none in (found.encoder_curvature, found.data_curvature, found.cross, found.curvature, found.bound):
        close(none, 0)
    assert found.reach.value.item() == math.inf
    assert "fills the latent space" in found.latent_curvature.message


def test_dropping_dimensions_costs_what_compression_says():
    A = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=D)).Q[:2]
    found = penalties(linear_pair(A), images(drawn(12, 6, half_side=0.5)))
    close(found.distortion, 0)
    spread, t = torch.tensor([1.5, 0.4], dtype=D), 0.3
    kept = gaussian_information(spread, t)
    whole = gaussian_information(torch.cat([spread, torch.zeros(4, dtype=D)]), [t])
    close(found.compression, ((whole.fi.value - kept.fi.value) * t).item())
    close(found.compression, ((whole.fir.value - kept.fir.value) * t**2).item())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.rand(1, 2, 1, 1)}, "at least two samples"),
        ({"images": torch.full((3, 2, 1, 1), 0.5)}, "expected to vary"),
        ({"images": torch.full((3, 2, 1, 1), torch.nan)}, r"images in \[-1, 1\] expected"),
        ({"images": torch.rand(3, 3, 1, 1)}, r"images of shape \(n, 2"),
        ({"images": torch.rand(3, 2, 1, 1).half()}, "float32 or float64"),
        ({"images": [1, 2]}, "a tensor of images"),
        ({"autoencoder": lambda x: x}, "an Autoencoder expected"),
        ({"probes": 1}, "`probes`"),
        ({"depth": 0}, "`depth`"),
        ({"dimension": 0}, "`dimension`"),
        ({"dimension": 3}, "at most the latent dimension 2"),
        ({"dimension": 1, "dense": False}, "needs explicit Jacobians"),
        ({"sigma": 0.0}, "`sigma`"),
        ({"generator": [1, 2]}, "one seed a latent"),
    ],
)
def test_bad_input(change, message):
    pair = toy(lambda x: x, lambda z: z, 2, 2)
    x = torch.rand(3, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    options = {"autoencoder": pair, "images": x, **change}
    with pytest.raises(InputError, match=message):
        penalties(options.pop("autoencoder"), options.pop("images"), **options)


def test_an_encoder_without_a_derivative():
    x = images(drawn(6, 2))
    with pytest.raises(InputError, match="a differentiable encoder expected"):
        penalties(toy(lambda x: (4 * x).round() / 4, lambda z: z, 2, 2), x)
    with pytest.raises(InputError, match="constant or quantised"):
        penalties(toy(lambda x: x, lambda z: (4 * z).round() / 4, 2, 2), x)
    with pytest.raises(InputError, match="positive noise variance"):
        penalties(toy(lambda x: x, lambda z: z, 2, 2), x).tangent_block(0.0)


def test_differences_in_place_of_derivatives_are_said():
    def through_numpy(x):
        return torch.from_numpy(np.sinh(x.numpy()))

    x = images(drawn(8, 2))
    found = penalties(toy(through_numpy, lambda z: z.asinh(), 2, 2), x)
    exact = penalties(toy(lambda x: x.sinh(), lambda z: z.asinh(), 2, 2), x)
    assert "finite differences" in found.encoder_curvature.message
    assert found.encoder_curvature.status == exact.encoder_curvature.status == "few-samples"
    assert "finite differences" not in exact.encoder_curvature.message
    many = images(drawn(20, 2))
    assert penalties(toy(through_numpy, lambda z: z.asinh(), 2, 2), many).encoder_curvature.status == "approximate"
    assert penalties(toy(lambda x: x.sinh(), lambda z: z.asinh(), 2, 2), many).encoder_curvature.status == "ok"
    torch.testing.assert_close(found.samples["encoder"], exact.samples["encoder"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["patches-plain", "patches-smooth"])
@pytest.mark.slow
def test_a_trained_autoencoder(name):
    files = sorted(bundled_images().glob("*.png"))[:8]
    crops = [np.asarray(Image.open(path).convert("RGB"))[16:32, 16:32] for path in files]
    x = torch.tensor(np.stack(crops) / 127.5 - 1, dtype=torch.float32).permute(0, 3, 1, 2)
    pair = theodolite.load(f"zoo:{name}")
    found = penalties(pair, x, dimension=8, generator=0)
    close(found.compression, 3 * 16 * 16 - 4 * 4 * 4)
    exact = penalties(pair.to(dtype=D), x, dimension=8)
    for quantity in ("stretch", "encoder", "data", "latent", "volume"):
        torch.testing.assert_close(found.samples[quantity], exact.samples[quantity], rtol=2e-2, atol=1e-4, msg=quantity)
    s = found.samples
    assert (s["bound"].square() <= s["encoder"] * (1 + 1e-5)).all()  # a spectral norm and a Frobenius norm
    assert (s["mean_curvature"] <= 8 * s["data"] * (1 + 1e-5)).all()
    assert (s["within"] > 0).all()
    assert 0 < found.reach.value.item() <= (1 / s["data"].max().sqrt() * 8**0.5).item()


def pool(**samples):
    """What images contribute under each name."""
    n = len(next(iter(samples.values())))
    return Pool({"rank": torch.ones(n, dtype=D), **samples}, passes=1, method="dense")


def test_a_quantile_is_bounded_by_order_statistics():
    """Of 200 uniform numbers: below the 0.95 quantile with its lower end, above with its upper one."""
    x = torch.rand(400, 200, generator=torch.Generator().manual_seed(0), dtype=D)
    bounds = [pool(x=row).quantile("x", 0.95) for row in x]
    low, high = (torch.cat([getattr(bound, end) for bound in bounds]) for end in ("low", "high"))
    assert (low > 0.95).double().mean() < 0.04
    assert (high < 0.95).double().mean() < 0.04
    assert bounds[0].status == "lower-bound"
    assert (high - low).mean() < 0.08


@pytest.mark.parametrize(("n", "is_open"), [(71, True), (72, False)])
def test_few_images_bound_a_quantile_on_one_side_only(n, is_open):
    bound = pool(x=torch.arange(float(n), dtype=D)).quantile("x", 0.95)
    assert math.isinf(bound.high.item()) is is_open
    assert bound.status == "lower-bound"
    assert bound.value.isfinite().all()


def test_two_images_tell_no_error():
    found = penalties(linear_pair(torch.tensor([[1.0, 0.5]], dtype=D)), images(drawn(2, 2, half_side=0.5)))
    assert {found.distortion.status, found.encoder_curvature.status} == {"undetermined"}
    assert "three or more" in found.distortion.message
    assert found.compression.status == "ok"
