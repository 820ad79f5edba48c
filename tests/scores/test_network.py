"""`NetworkScore`: trained on densities that are known, its derivatives, its file, its refusals."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from theodolite.errors import InputError
from theodolite.information import gaussian_information, information
from theodolite.scores import NetworkScore

D = torch.float64
LEVELS = [0.05, 0.2, 1.0, 3.0]


def sample(density, n, seed):
    return density.sample(n, torch.Generator().manual_seed(seed)).float()


@pytest.fixture(scope="module")
def small():
    """A score trained for a moment on latents far from the origin, in other units."""
    g = torch.Generator().manual_seed(0)
    z = torch.where(torch.rand(600, 1, generator=g) < 0.5, -1.0, 1.0) * torch.tensor([1.0, 0.5, 0.0])
    return NetworkScore.fit(4 * (z + 0.3 * torch.randn(600, 3, generator=g)) + 50, steps=60, batch=64, generator=0)


@pytest.fixture(scope="module")
def maps():
    """The same on feature maps."""
    z = torch.randn(64, 3, 6, 4, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    return z, NetworkScore.fit(z, steps=12, width=16, depth=3, generator=0)


def relative(density, score, t, n=2000):
    """Errors of `fi` and `fir` against the exact score on the same latents and noise."""
    z = sample(density, n, seed=9)
    ours, exact = (information(z, t, source, generator=1) for source in (score, density))
    return ours.fi_samples.mean(1) / exact.fi_samples.mean(1) - 1, ours.fir.value / exact.fir.value - 1


def test_a_gaussian_needs_no_training(eight):
    score = NetworkScore.fit(sample(eight, 20_000, seed=5), steps=5, batch=64, generator=0)
    fi, fir = relative(eight, score, LEVELS)
    assert float(fi.abs().max()) < 0.02
    assert float(fir.abs().max()) < 0.04


def test_a_mixture_is_learnt(three):
    """A short training of a network on what no Gaussian is; `benchmarks/network_score.py` has the long one."""
    latents = sample(three, 20_000, seed=5)
    before = NetworkScore.fit(latents, steps=1, generator=0)
    after = NetworkScore.fit(latents, steps=250, t_min=0.03, t_max=10, batch=256, generator=0)
    wrong, (fi, fir) = relative(three, before, LEVELS)[1], relative(three, after, LEVELS)
    assert float(fi.abs().max()) < 0.06
    assert float(fir.abs().max()) < 0.15
    assert float(wrong.abs().max()) > 0.4


def test_products_are_those_of_the_score(small, maps):
    g = torch.Generator().manual_seed(3)
    for score in (small, maps[1]):
        x, v, u = (torch.randn(4, score.dimension, generator=g, dtype=D) for _ in range(3))
        x, h = score.scales.mean.flatten() + score.scales.scale * x, 1e-5 * score.scales.scale
        products = score.products(x, score.low * 50, v)
        difference = (score.score(x + h * v, score.low * 50) - score.score(x - h * v, score.low * 50)) / (2 * h)
        torch.testing.assert_close(products.push, difference, rtol=1e-6, atol=1e-7)
        pull = score.vjp(x, score.low * 50, u)
        torch.testing.assert_close((u * products.push).sum(-1), (pull * v).sum(-1))
        assert not torch.equal(products.push, products.pull)


def test_batches_do_not_matter(maps):
    z, score = maps
    x = z[:5].flatten(1)
    together = score.score(x, 1.0)
    alone = torch.cat([score.score(row[None], 1.0) for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_results_follow_the_dtype_of_the_points(small):
    x = small.scales.mean[None].float() + torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    single, double = small.score(x, 1.0), small.score(x.double(), 1.0)
    assert (single.dtype, double.dtype) == (torch.float32, D)
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)
    assert small.jvp(x.double(), 1.0, x.double()).dtype is D


def test_units_of_the_latents_do_not_matter(three):
    """A cloud `c z + b` gives the score `s / c` at `c² t`: the training sees the same numbers."""
    z = three.sample(2000, torch.Generator().manual_seed(0))
    one = NetworkScore.fit(z, steps=30, batch=64, generator=0)
    other = NetworkScore.fit(8 * z + 4, steps=30, batch=64, generator=0)
    x = z[:20]
    assert other.high == pytest.approx(64 * one.high)
    torch.testing.assert_close(8 * other.score(8 * x + 4, 64 * 0.3), one.score(x, 0.3), rtol=1e-3, atol=1e-3)


def test_the_seed_decides_and_nothing_else(three):
    z = sample(three, 500, seed=0)
    before = torch.random.get_rng_state()
    first, second, third = (NetworkScore.fit(z, steps=15, batch=64, generator=seed) for seed in (1, 1, 2))
    x = z[:10]
    torch.testing.assert_close(first.score(x, 0.5), second.score(x, 0.5))
    assert not torch.equal(first.score(x, 0.5), third.score(x, 0.5))
    assert first.record.history[0][2] == second.record.history[0][2]
    assert torch.equal(before, torch.random.get_rng_state())
    with torch.inference_mode():
        again = NetworkScore.fit(z, steps=15, batch=64, generator=torch.Generator().manual_seed(4))
    assert again.record.steps == 15


def test_a_file_holds_the_score(small, maps, tmp_path):
    for score in (small, maps[1]):
        path = tmp_path / "score.safetensors"
        score.save(path)
        loaded = NetworkScore.load(path)
        x = score.scales.mean.flatten().float() + torch.randn(4, score.dimension)
        torch.testing.assert_close(loaded.score(x, 1.0), score.score(x, 1.0))
        torch.testing.assert_close(loaded.jvp(x, 1.0, x), score.jvp(x, 1.0, x))
        assert (loaded.record, loaded.low, loaded.high, loaded.shape) == (
            score.record,
            score.low,
            score.high,
            score.shape,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["score.safetensors"]


def test_files_that_are_no_score(small, tmp_path):
    with pytest.raises(InputError, match="is not there"):
        NetworkScore.load(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"not a tensor")
    with pytest.raises(InputError, match="a safetensors file expected"):
        NetworkScore.load(tmp_path / "bad")
    save_file({"x": torch.ones(2)}, tmp_path / "other")
    with pytest.raises(InputError, match="holds something else"):
        NetworkScore.load(tmp_path / "other")
    with pytest.raises(InputError, match="could not be written"):
        small.save(tmp_path / "no" / "folder")


def test_interrupting_leaves_a_score(three):
    def stop(share, loss):
        if share > 0.5:
            raise KeyboardInterrupt

    score = NetworkScore.fit(sample(three, 500, seed=0), steps=20, generator=0, progress=stop)
    assert score.record.interrupted
    assert score.record.steps == 11
    assert torch.isfinite(score.score(torch.zeros(1, 2), 1.0)).all()


def test_held_out_latents_may_be_given(three):
    z, judges = sample(three, 300, seed=0), sample(three, 70, seed=1)
    record = NetworkScore.fit(z, held_out=judges, steps=2, generator=0).record
    assert (record.samples, record.held_out) == (300, 70)
    assert NetworkScore.fit(z, held_out=0.2, steps=2, generator=0).record.held_out == 60


def test_spatial_latents_with_the_wiener_filter(maps):
    """Sums along rows of white noise: the covariance is known, and a short training is near it at large noise."""
    latents = torch.randn(300, 3, 6, 4, generator=torch.Generator().manual_seed(8)).cumsum(-1)
    t = [10.0, 40.0]
    row = torch.linalg.eigvalsh(torch.ones(4, 4, dtype=D).tril() @ torch.ones(4, 4, dtype=D).triu())
    truth, curve = gaussian_information(row.repeat(18), t), information(latents, t, maps[1], generator=0)
    assert float((curve.fi.value / truth.fi.value - 1).abs().max()) < 0.1
    assert float((curve.fir.value / truth.fir.value - 1).abs().max()) < 0.2


def test_no_level_outside_the_range(small):
    x = torch.full((1, 3), 50.0)
    for t in (0.9 * small.low, 1.1 * small.high):
        for ask in (lambda t=t: small.score(x, t), lambda t=t: small.jvp(x, t, x)):
            with pytest.raises(InputError, match=f"between {small.low:.4g} and {small.high:.4g}"):
                ask()
    with pytest.raises(InputError, match="where the NetworkScore was trained"):
        information(torch.randn(20, 3) + 50, [1.0, 1e6], small)


def test_bad_input():
    z = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    for bad, message in [
        (z.index_fill(0, torch.tensor([3]), torch.nan), "NaN"),
        (torch.ones(50, 2), "zero variance"),
        (z[:1], "at least two samples"),
        (z[:20], "at least 32 latents expected"),
        (z[:, 0], r"expected to be \(n, \*latent\)"),
        (z.half(), "float32 or float64"),
        (z.tolist(), "float32 or float64"),
    ]:
        with pytest.raises(InputError, match=message):
            NetworkScore.fit(bad, steps=1)
    for settings, message in [
        ({"t_min": -1.0}, "`t_min` expected positive"),
        ({"t_max": float("nan")}, "`t_max` expected positive"),
        ({"t_min": 2.0, "t_max": 1.0}, "`t_min` below `t_max`"),
        ({"steps": 0}, "`steps` expected a positive integer"),
        ({"seconds": 0.0}, "`seconds` expected positive"),
        ({"rate": -1.0}, "`rate` expected positive"),
        ({"batch": 2.5}, "`batch` expected a positive integer"),
        ({"width": 0}, "`width`"),
        ({"held_out": 1.0}, "`held_out` expected a share"),
        ({"held_out": torch.randn(40, 3)}, "of the shape of the others"),
    ]:
        with pytest.raises(InputError, match=message):
            NetworkScore.fit(z, **{"steps": 1, **settings})
    with pytest.raises(InputError, match="a multiple of 8"):
        NetworkScore.fit(torch.randn(40, 2, 4, 4), steps=1, width=12)
    score = NetworkScore.fit(z, steps=1)
    with pytest.raises(InputError, match="latents of 2 dimensions expected"):
        information(torch.randn(20, 3), 1.0, score)


@pytest.fixture
def double_default():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("shape", [(3,), (2, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torchs_default_dtype_changes_nothing(shape, dtype, tmp_path, request):
    z = torch.randn(80, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    plain = NetworkScore.fit(z, steps=4, width=16, generator=0)
    request.getfixturevalue("double_default")
    score = NetworkScore.fit(z, steps=4, width=16, generator=0)
    assert {weight.dtype for weight in score.network.parameters()} == {torch.float32}
    x = z[:5].flatten(1)
    torch.testing.assert_close(score.score(x, 1.0), plain.score(x, 1.0), rtol=1e-4, atol=1e-5)
    score.save(tmp_path / "score.safetensors")
    torch.testing.assert_close(NetworkScore.load(tmp_path / "score.safetensors").score(x, 1.0), score.score(x, 1.0))
    assert torch.isfinite(information(z, [1.0], score, generator=0).fi.value).all()
