"""Channels: the check value of the variance-preserving channel, and each against the density it describes."""

from __future__ import annotations

import pytest
import torch

from theodolite.errors import InputError
from theodolite.information import flow_matching, gaussian_information, variance_exploding, variance_preserving

D = torch.float64
S = torch.tensor([2, 0.5], dtype=D)


def mmse(channel):
    alpha, noise = channel.alpha.square()[:, None], channel.noise.square()[:, None]
    return (S * noise / (alpha * S + noise)).sum(-1)


def test_check_value():
    channel = variance_preserving(0.64)
    assert channel.alpha.item() == pytest.approx(0.8)
    assert channel.noise.square().item() == pytest.approx(0.36)
    curve = channel.read(gaussian_information(S, channel.t))
    assert curve.fi.value.item() == pytest.approx(2.0803443329, abs=5e-11)
    assert curve.fir.value.item() == pytest.approx(2.5344322563, abs=5e-11)


@pytest.mark.parametrize(
    ("make", "times"),
    [(variance_exploding, [0.3, 2.0]), (variance_preserving, [0.1, 0.9]), (flow_matching, [0.2, 0.7])],
)
def test_channels_against_the_gaussian_they_make(make, times):
    channel, h = make(times), 1e-6
    curve = channel.read(gaussian_information(S, channel.t))
    spread = channel.alpha.square()[:, None] * S + channel.noise.square()[:, None]
    torch.testing.assert_close(curve.fi.value, (1 / spread).sum(-1))
    torch.testing.assert_close(curve.fir.value, (1 / spread.square()).sum(-1))
    torch.testing.assert_close(curve.mmse.value, mmse(channel))
    around = [mmse(make([time + step for time in times])) for step in (h, -h)]
    torch.testing.assert_close(curve.rate.value, (around[0] - around[1]) / (2 * h), rtol=1e-6, atol=1e-8)


def test_the_stated_speeds():
    assert flow_matching(0.5).t.item() == 1
    assert flow_matching(0.5).speed.item() == pytest.approx(8)
    assert variance_exploding(3.0).speed.item() == 6
    assert variance_preserving(0.5).speed.item() == -4


def test_bad_input():
    for make, times in ((variance_preserving, [1.0]), (flow_matching, [0.0]), (variance_exploding, [-1.0])):
        with pytest.raises(InputError, match="expected between 0 and"):
            make(times)
    with pytest.raises(InputError, match=r"measure it at `channel\.t`"):
        flow_matching(0.5).read(gaussian_information(S, [2.0]))
