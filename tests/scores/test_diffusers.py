"""Diffusers denoisers as scores: exact on Gaussian data for every prediction and schedule, and real tiny networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from theodolite.errors import InputError
from theodolite.information import information
from theodolite.scores import DiffusersScore, GaussianScore

diffusers = pytest.importorskip("diffusers")
D = torch.float64
MEAN, VARIANCES = torch.tensor([1.0, -0.5, 0.2], dtype=D), torch.tensor([2.0, 0.5, 0.05], dtype=D)
TRUTH = GaussianScore(MEAN, VARIANCES)
LEVELS = [0.02, 0.3, 4.0]


def points():
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=D)


def exact(prediction, told):
    """A model whose prediction is exact on the Gaussian; `told(time)` are `alpha`, `s` of what it is told."""

    def model(x, time):
        alpha, s = (torch.as_tensor(part, dtype=D)[:, None] for part in told(time))
        x0 = torch.cat([TRUTH.denoise(row[None], float(t)) for row, t in zip(x / alpha, (s / alpha).square())])
        eps = (x - alpha * x0) / s
        return {
            "epsilon": eps,
            "sample": x0,
            "v_prediction": alpha * eps - s * x0,
            "flow_prediction": eps - x0,
        }[prediction]

    return model


def preserving(scheduler):
    """`alpha`, `s` at a step, or between steps on the line of `log t`."""
    a = scheduler.alphas_cumprod.double().numpy()
    steps = np.log((1 - a) / a)

    def told(time):
        t = np.exp(np.interp(time.numpy(), np.arange(len(a)), steps))
        return (1 + t) ** -0.5, (t / (1 + t)) ** 0.5

    return told


@pytest.mark.parametrize(
    "name", ["DDPMScheduler", "DDIMScheduler", "EulerDiscreteScheduler", "UniPCMultistepScheduler"]
)
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_variance_preserving_schedules_are_exact(name, prediction):
    scheduler = getattr(diffusers, name)(prediction_type=prediction)
    score, x = DiffusersScore(exact(prediction, preserving(scheduler)), scheduler, (3,)), points()
    for t in LEVELS:
        torch.testing.assert_close(score.score(x, t), TRUTH.score(x, t), rtol=1e-6, atol=1e-9)


def test_the_nearest_step_is_a_whole_number_and_exact_there():
    scheduler = diffusers.DDPMScheduler()
    seen = []
    model = exact("epsilon", preserving(scheduler))
    score = DiffusersScore(lambda x, time: seen.append(time) or model(x, time), scheduler, (3,), time="nearest")
    a = scheduler.alphas_cumprod.double()
    for step in (0, 137, 999):
        t = float((1 - a[step]) / a[step])
        torch.testing.assert_close(score.score(points(), t), TRUTH.score(points(), t), rtol=1e-6, atol=1e-9)
        assert seen[-1].dtype is torch.int64
        assert seen[-1].tolist() == [step] * 5


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching_is_exact(shift):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    model = exact("flow_prediction", lambda time: (1 - time / 1000, time / 1000))
    score = DiffusersScore(model, scheduler, (3,))
    thousandth = DiffusersScore(
        exact("flow_prediction", lambda time: (1 - time, time)), scheduler, (3,), time_scale=1e-3
    )
    for t in LEVELS:
        torch.testing.assert_close(score.score(points(), t), TRUTH.score(points(), t))
        torch.testing.assert_close(thousandth.score(points(), t), TRUTH.score(points(), t))


def test_the_flow_convention_is_that_of_the_scheduler():
    """Noise made by the scheduler, at a time it names, is what the model is given."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    x0, eps, time = torch.randn(2, 3), torch.randn(2, 3), scheduler.timesteps[[300, 300]]
    seen = []
    score = DiffusersScore(lambda x, time: seen.append((x, time)) or eps - x0, scheduler, (3,))
    tau = float(time[0]) / 1000
    t = (tau / (1 - tau)) ** 2
    s = score.score(x0 + t**0.5 * eps, t)
    torch.testing.assert_close(seen[0][0], scheduler.scale_noise(x0, time, eps))
    torch.testing.assert_close(seen[0][1], time)
    torch.testing.assert_close(s, -eps / t**0.5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_edm_preconditioning_is_that_of_the_scheduler(prediction):
    scheduler = diffusers.EDMEulerScheduler(prediction_type=prediction)
    seen = []
    score = DiffusersScore(lambda x, time: seen.append((x, time)) or x.sin(), scheduler, (3,))
    x, sigma = points().float(), torch.tensor(0.7)
    s = score.score(x, float(sigma) ** 2)
    given = scheduler.precondition_inputs(x, sigma)
    torch.testing.assert_close(seen[0][0], given)
    torch.testing.assert_close(seen[0][1], scheduler.precondition_noise(sigma).expand(5))
    torch.testing.assert_close(s, (scheduler.precondition_outputs(x, given.sin(), sigma) - x) / sigma**2)


def unet():
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8,
        in_channels=2,
        out_channels=2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()


def transformer():
    torch.manual_seed(0)
    return diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=2,
        out_channels=4,
        num_layers=1,
        sample_size=8,
        patch_size=2,
        norm_num_groups=1,
        num_embeds_ada_norm=10,
    ).eval()


@pytest.mark.parametrize(
    ("make", "conditions"), [(unet, {}), (transformer, {"class_labels": torch.tensor([3])})], ids=["unet", "dit"]
)
def test_products_with_the_jacobian_of_a_network(make, conditions):
    score = DiffusersScore(make().double(), diffusers.DDPMScheduler(), conditions=conditions)
    assert score.shape == (2, 8, 8)
    g = torch.Generator().manual_seed(1)
    x, v, u = (torch.randn(2, 128, generator=g, dtype=D) for _ in range(3))
    products, h = score.products(x, 0.5, v), 1e-4
    difference = (score.score(x + h * v, 0.5) - score.score(x - h * v, 0.5)) / (2 * h)
    torch.testing.assert_close(products.push, difference, rtol=1e-5, atol=1e-6)
    pull = score.vjp(x, 0.5, u)
    torch.testing.assert_close((u * products.push).sum(-1), (pull * v).sum(-1), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("make", [unet, transformer])
def test_a_network_as_the_pipeline_calls_it(make):
    """The noise prediction of the model at a step of the schedule, by hand."""
    model, scheduler, step = make(), diffusers.DDPMScheduler(), 400
    conditions = {} if make is unet else {"class_labels": torch.tensor([3])}
    a, x = scheduler.alphas_cumprod[step], torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    t = float((1 - a.double()) / a.double())
    rows = {name: value.expand(2) for name, value in conditions.items()}
    eps = model(a.sqrt() * x, torch.full((2,), step), **rows).sample[:, :2]
    for time in ("nearest", "interpolated"):
        score = DiffusersScore(model, scheduler, time=time, conditions=conditions)
        torch.testing.assert_close(
            score.score(x.flatten(1), t), (-eps / t**0.5).flatten(1).detach(), rtol=1e-3, atol=1e-4
        )


def test_information_of_a_network():
    latents = torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    curve = information(latents, [0.1, 1.0], DiffusersScore(unet(), diffusers.DDPMScheduler()), generator=0)
    assert torch.isfinite(curve.fi.value).all()
    assert (curve.fir.parts["asymmetry"].value > 0).all()


def test_bad_input():
    ddpm = diffusers.DDPMScheduler()
    with pytest.raises(InputError, match=r"call `model.eval\(\)`"):
        DiffusersScore(unet().train(), ddpm)
    with pytest.raises(InputError, match="the shape of one point"):
        DiffusersScore(torch.sin, ddpm)
    with pytest.raises(InputError, match="alphas_cumprod"):
        DiffusersScore(torch.sin, object(), (3,))
    with pytest.raises(InputError, match="prediction"):
        DiffusersScore(torch.sin, ddpm, (3,), prediction="noise")
    with pytest.raises(InputError, match="nearest"):
        DiffusersScore(torch.sin, ddpm, (3,), time="closest")
    score = DiffusersScore(unet(), ddpm)
    with pytest.raises(InputError, match=r"between 0\.0001 and 2\.478e\+04, which the schedule reaches"):
        score.score(torch.zeros(1, 128), 1e-5)
    with pytest.raises(InputError, match="dtype and device"):
        score.jvp(torch.zeros(1, 128, dtype=D), 1.0, torch.zeros(1, 128, dtype=D))
    with pytest.raises(InputError, match="shape of its point"):
        DiffusersScore(lambda x, time: x[:, :1], ddpm, (3,)).score(points(), 1.0)
    assert math.isclose(score.low, 1e-4, rel_tol=1e-3)
