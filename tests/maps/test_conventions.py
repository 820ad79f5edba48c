"""Conventions held against data: right ones confirmed, wrong ones refused with the name of the one that fits."""

from __future__ import annotations

import pytest
import torch
from exact_networks import ABAR, CASES, VARIANCES, D, exploding, points, preserving

from theodolite import Denoiser, InputError, zoo
from theodolite.maps.adapters import subject_of

TIMES = {"step": "index"}  # of a schedule's whole steps the two are one
DATA = points(8, seed=3, size=48) * torch.linspace(0.1, 2.0, 6, dtype=D).repeat(8).sqrt()


def tiled(net):
    """A network of six entries on forty-eight, each block by itself."""

    def wide(y, told):
        blocks = y.reshape(-1, 6)
        told = told.repeat_interleave(8) if isinstance(told, torch.Tensor) and told.ndim else told
        return net(blocks, told).reshape(y.shape)

    return wide


@pytest.mark.parametrize(("make", "schedule", "predicts", "time"), CASES)
def test_the_declared_convention_is_confirmed(make, schedule, predicts, time):
    denoiser = Denoiser(tiled(make(predicts, time)), predicts, time, schedule, shape=(48,))
    (note,) = denoiser.confirmed(DATA).notes
    assert note.startswith(f"convention predicts={predicts!r}, time={time!r} tested on 8 noised points")
    assert note.endswith(": confirmed")


@pytest.mark.parametrize(
    ("make", "schedule", "predicts", "time"), [case for case in CASES if case[3] != "step" or case[1] == "flow"]
)
def test_another_prediction_is_refused_and_the_right_one_named(make, schedule, predicts, time):
    net = tiled(make(predicts, time))
    for other in {"x0", "eps", "score"} - {predicts}:
        wrong = Denoiser(net, other, time, schedule, shape=(48,))
        with pytest.raises(InputError, match=f"with predicts={predicts!r}, time={time!r}; declare that"):
            wrong.confirmed(DATA)


def test_another_time_is_refused():
    for predicts in ("x0", "eps", "v"):
        net = tiled(preserving(predicts, "u"))
        with pytest.raises(InputError, match=f"with predicts={predicts!r}, time='u'"):
            Denoiser(net, predicts, "step", ABAR, shape=(48,)).confirmed(DATA)


def as_untrained(layer):
    return lambda x, sigma: torch.zeros_like(x) if layer is None else layer(x).tanh()


def test_an_untrained_network_is_neither_confirmed_nor_refused():
    for seed in range(20):
        weight = 0.2 * torch.randn(48, 48, generator=torch.Generator().manual_seed(seed), dtype=D)
        for predicts in ("x0", "eps", "v"):
            for net in (torch.nn.Linear(48, 48, dtype=D), None):
                if net is not None:
                    net.weight.data = weight
                function = as_untrained(net)
                (note,) = Denoiser(function, predicts, shape=(48,)).confirmed(DATA).notes
                assert "not confirmed" in note


def test_the_caller_has_the_same_network_and_the_same_map():
    denoiser = Denoiser(tiled(exploding("eps", "sigma")), "eps", shape=(48,), notes=["read here"])
    after = denoiser.confirmed(DATA)
    assert (denoiser.notes, after.notes[0], len(after.notes)) == (("read here",), "read here", 2)
    assert torch.equal(after(DATA, 0.5), denoiser(DATA, 0.5))
    assert VARIANCES.shape == (6,)


def test_a_model_of_the_zoo_is_confirmed_on_its_digits():
    model = zoo.pixel_diffusion()
    images = zoo.coloured_digits(torch.tensor([[digit, 1] for digit in range(8)]), side=16, generator=0)[0]
    subject = subject_of(model, sigma=0.1, output="eps").confirmed(images)
    assert subject.describe()["notes"][-1].endswith("confirmed")
