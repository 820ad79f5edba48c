"""`Denoiser`: every convention is exact on Gaussian data, however a network is called, and is what loading returns."""

from __future__ import annotations

import json
import math
from typing import get_args

import pytest
import torch
from exact_networks import ABAR, CASES, VARIANCES, D, exploding, flowing, points, preserving
from torch import nn

import theodolite
from theodolite import Denoiser, InputError, denoiser_map, jacobian, local_scaling, sampler_map
from theodolite.maps import karras_levels
from theodolite.maps.channels import Predicts
from theodolite.steering import guide


@pytest.mark.parametrize(("make", "schedule", "predicts", "time"), CASES)
def test_every_convention_is_the_exact_denoiser(make, schedule, predicts, time):
    denoiser, x = Denoiser(make(predicts, time), predicts, time, schedule, shape=(6,)), points()
    for sigma in (0.05, 0.7, 3.0):
        exact = VARIANCES / (VARIANCES + sigma**2)
        tolerance = 2e-5 if time == "index" else 1e-9  # on the line between two of a thousand steps
        torch.testing.assert_close(denoiser(x, sigma), x * exact, rtol=tolerance, atol=tolerance)
        J = jacobian(denoiser_map(denoiser, sigma), x[:1])
        torch.testing.assert_close(J.dense()[0], torch.diag(exact), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("output", ["x0", "eps", "v", "score"])
def test_without_a_schedule_it_undoes_what_a_denoiser_map_returns(output):
    exact = Denoiser(exploding("x0", "sigma"), shape=(6,))
    again = Denoiser(lambda x, sigma: denoiser_map(exact, sigma, output)(x), output, shape=(6,))
    torch.testing.assert_close(again(points(), 0.7), exact(points(), 0.7))


class Clean(nn.Module):
    """The denoised point of N(0, 1) data, with the two arguments of a module."""

    def forward(self, x, sigma):
        return x / (1 + sigma**2)


class NoiseOf(nn.Module):
    """The exact noise of N(0, 1) data under a schedule, told a whole step."""

    def __init__(self, alphas):
        super().__init__()
        self.register_buffer("alphas", alphas)

    def forward(self, x, index):
        return (1 - self.alphas[torch.as_tensor(index).long()]).sqrt() * x


def test_a_module_of_two_arguments_is_a_denoiser():
    torch.testing.assert_close(denoiser_map(Clean(), 0.5, shape=(2,))(points(size=2)), points(size=2) / 1.25)


@pytest.mark.parametrize("rows", [1, 3, 4])
@pytest.mark.parametrize("kind", ["function", "module"])
def test_a_scheduler_is_never_ignored(kind, rows):
    """Four entries of N(0, 1) data at sigma 1: x / 2, and a log-volume of 4 log(1/2), whatever the number of points."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(1000)
    module = NoiseOf(scheduler.alphas_cumprod.double())
    net = module if kind == "module" else lambda x, index: module(x, index)
    map, x = denoiser_map(net, 1.0, scheduler=scheduler, shape=(4,)), 2 * torch.ones(rows, 4, dtype=D)
    torch.testing.assert_close(map(x), torch.ones_like(x), rtol=0, atol=1e-7)
    psi = local_scaling(map, x)
    torch.testing.assert_close(psi.value, torch.full((rows,), 4 * math.log(0.5), dtype=D), rtol=0, atol=1e-6)


def test_between_whole_steps_both_are_asked_and_at_one_of_them_only_that():
    asked = []
    net = NoiseOf(ABAR)
    denoiser = Denoiser(lambda x, index: asked.append(index) or net(x, index), "eps", "index", ABAR, shape=(6,))
    sigma = float(((1 - ABAR[137]) / ABAR[137]).sqrt())
    denoiser(points(5), sigma)
    asked.clear()
    denoiser(points(5), sigma)
    assert [index if isinstance(index, int) else index[0].item() for index in asked] == [137]
    asked.clear()
    denoiser(points(5), sigma * 1.001)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("net", "time"),
    [
        (lambda x, sigma: x / (1 + sigma.reshape(-1, 1) ** 2), "sigma"),  # a tensor (n,), as EDM's networks
        (lambda x, sigma: x / (1 + float(sigma) ** 2), "sigma"),
        (lambda y, u: (1 - u)[:, None] / ((1 - u) ** 2 + u**2)[:, None] * y, "u"),
        (lambda y, u: (1 - float(u)) / ((1 - float(u)) ** 2 + float(u) ** 2) * y, "u"),
    ],
)
@pytest.mark.parametrize("n", [1, 2, 6])
def test_a_time_goes_as_a_tensor_or_a_number_whichever_it_takes(net, time, n):
    schedule = "flow" if time == "u" else None
    denoiser = Denoiser(net, "x0", time, schedule, shape=(6,))
    torch.testing.assert_close(denoiser(points(n), 0.5), points(n) / 1.25)


def test_clipping_holds_the_denoised_point_and_its_slope():
    x = torch.tensor([[0.1, 2.0, -4.0]], dtype=D)
    clipped = denoiser_map(Denoiser(Clean(), clip=1.0, shape=(3,)), 0.5)
    torch.testing.assert_close(clipped(x), torch.tensor([[0.08, 1.0, -1.0]], dtype=D))
    torch.testing.assert_close(jacobian(clipped, x).dense()[0], torch.diag(torch.tensor([0.8, 0, 0], dtype=D)))
    assert clipped.fingerprint() != denoiser_map(Denoiser(Clean(), shape=(3,)), 0.5).fingerprint()


def test_it_is_taken_wherever_a_denoiser_is():
    denoiser = Denoiser(preserving("eps", "step"), "eps", "step", ABAR, shape=(6,))
    exact = Denoiser(exploding("x0", "sigma"), shape=(6,))
    levels, z = karras_levels(4, 0.05, 3.0), points()
    start = (1 + levels[0] ** 2) ** 0.5 / levels[0]  # noise as it comes to a network of such a schedule
    torch.testing.assert_close(sampler_map(denoiser, levels)(z), sampler_map(exact, levels)(start * z))
    reward = lambda x, sigma: x.sum(-1)  # noqa: E731
    torch.testing.assert_close(
        guide(denoiser, reward, 0.2, norm="raw")(z, 0.5), exact(z, 0.5) + 0.2 * 0.5**2 * torch.ones(6, dtype=D)
    )


def test_guidance_takes_the_place_of_a_condition_that_it_holds():
    net = lambda x, sigma, condition: x / (1 + sigma**2) + (condition or 0.0)  # noqa: E731
    held, x = Denoiser(net, condition=2.0, shape=(6,)), points()
    torch.testing.assert_close(held(x, 1.0), x / 2 + 2)
    guided = denoiser_map(held, 1.0, condition=3.0, guidance=4.0)
    torch.testing.assert_close(guided(x), x / 2 + 12)


def test_a_flow_makes_its_own_levels():
    denoiser = Denoiser(flowing("flow", "u"), "flow", shape=(6,))
    assert denoiser.levels(4) == [math.inf, 3.0, 1.0, pytest.approx(1 / 3), 0.0]
    z = points()
    map = sampler_map(denoiser, denoiser.levels(400)[1:])  # the formula of this network has no value at u = 1
    torch.testing.assert_close(map(z), z * VARIANCES.sqrt(), rtol=0.02, atol=0.02)


FACTORY = """
import torch
from theodolite import Denoiser

class Net(torch.nn.Module):
    shape = (3, 4, 4)

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x, sigma):
        return self.weight * x / (1 + sigma**2)

def model():
    return Denoiser(Net(), data_range=(-1, 1))
"""


def test_factories_and_folders_give_one(tmp_path, monkeypatch):
    (tmp_path / "made_here.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    loaded = theodolite.load("made_here:model", dtype="float64")
    assert isinstance(loaded, Denoiser)
    assert (loaded.source, loaded.data_range, loaded.training) == ("made_here:model", (-1, 1), False)
    assert not any(weight.requires_grad for weight in loaded.parameters())
    assert loaded(torch.ones(1, 3, 4, 4, dtype=D), 1.0).unique().tolist() == [0.5]
    assert isinstance(theodolite.load("zoo:coloured-pixels"), Denoiser)


def test_a_folder_of_a_network_of_tokens_with_dynamic_shifting(tmp_path):
    """As a pipeline of Flux: its time is a share, its tokens have coordinates, its levels depend on their number."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    network = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=6,
        pooled_projection_dim=5,
        axes_dims_rope=(4, 4, 8),
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    network.save_pretrained(tmp_path / "transformer")
    scheduler.save_pretrained(tmp_path / "scheduler")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    model = theodolite.load(tmp_path, dtype="float64")
    condition = {"encoder_hidden_states": torch.ones(1, 3, 6), "pooled_projections": torch.ones(1, 5)}
    x = z = torch.randn(2, 16, 4, generator=torch.Generator().manual_seed(1), dtype=D)
    scheduler.set_timesteps(4, mu=0.5 + (16 - 256) * (1.15 - 0.5) / (4096 - 256))
    rows, columns = torch.meshgrid(torch.arange(4.0, dtype=D), torch.arange(4.0, dtype=D), indexing="ij")
    places = torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(16, 3)
    given = {name: value.double().expand(2, *value.shape[1:]) for name, value in condition.items()}
    given |= {"img_ids": places, "txt_ids": torch.zeros(3, 3, dtype=D)}
    with torch.no_grad():
        for time in scheduler.timesteps:
            velocity = model.net(x, timestep=(time.double() / 1000).expand(2), **given).sample
            x = scheduler.step(velocity, time, x).prev_sample
    ours = sampler_map(model, 4, condition=condition, shape=(16, 4))(z)
    assert float((ours - x).norm() / x.norm()) < 1e-6
    with pytest.raises(InputError, match="give `mu`"):
        sampler_map(model, 4, condition=condition)


def test_bad_input_is_one_clear_error():
    net = Clean()
    for message, call in {
        "`time` expected to be one of sigma": lambda: Denoiser(net, time="seconds", shape=(2,)),
        "`predicts`, expected to be one of x0, eps": lambda: Denoiser(net, "noise", shape=(2,)),
        "a schedule expected with time='index'": lambda: Denoiser(net, time="index", shape=(2,))(points(size=2), 1.0),
        "`schedule` expected a scheduler": lambda: Denoiser(net, schedule="cosine", shape=(2,)),
        "alpha² of a schedule expected to fall": lambda: Denoiser(net, "eps", schedule=ABAR.flip(0), shape=(2,)),
        "the shape of one point expected": lambda: Denoiser(net),
        "`clip` expected": lambda: Denoiser(net, clip=(1, -1), shape=(2,)),
        "takes no third argument": lambda: Denoiser(net, condition=3, shape=(2,)),
        "a denoiser expected, got int": lambda: Denoiser(3),
        r"model\(x, sigma\) or model\(x, sigma, condition\)": lambda: Denoiser(lambda x: x, shape=(2,)),
        "a Denoiser has its schedule": lambda: denoiser_map(Denoiser(net, shape=(2,)), 1.0, scheduler=object()),
        "which the schedule reaches": lambda: denoiser_map(Denoiser(net, "eps", "step", ABAR, shape=(2,)), 1e6),
        "the shape of its point": lambda: Denoiser(lambda x, i: x[:, :1], "eps", "index", ABAR, shape=(2,))(
            points(size=2), 1.0
        ),
    }.items():
        with pytest.raises(InputError, match=message):
            call()


def test_every_prediction_has_a_case():
    assert {predicts for _, _, predicts, _ in CASES} == set(get_args(Predicts))
