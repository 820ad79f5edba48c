"""Charts that share their draws or their Jacobian."""

from __future__ import annotations

import torch

from theodolite.descriptors import EFFORTS
from theodolite.descriptors.together import charts_alike, charts_of_outputs
from theodolite.maps.denoisers import as_denoiser
from theodolite.maps.latent_map import LatentMap
from theodolite.scores import GaussianScore

D = torch.float64
X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=D)


def test_outputs_of_a_denoiser_share_one_jacobian_and_have_each_its_own():
    covariance, sigma = torch.diag(torch.tensor([2.0, 1.0, 0.3], dtype=D)), 0.7
    denoiser = as_denoiser(GaussianScore(torch.zeros(3, dtype=D), covariance))
    charts = dict(charts_of_outputs(denoiser, sigma, X, ("eps", "score", "x0"), generator=0))
    matrix = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(3, dtype=D))
    known = {"eps": (torch.eye(3, dtype=D) - matrix) / sigma, "x0": matrix}
    known["score"] = -known["eps"] / sigma
    assert [*charts] == ["eps", "score", "x0"]
    for output, chart in charts.items():
        torch.testing.assert_close(chart.jacobians, known[output].expand(4, 3, 3))
    assert charts["eps"].operator.passes < charts["x0"].operator.passes  # its columns are made of those of x0


def test_compared_latents_share_draws_and_radius_in_any_group(monkeypatch):
    monkeypatch.setattr("theodolite.descriptors.groups.group_size", lambda *_: 3)
    charts = [*charts_alike(LatentMap(torch.tanh, (3,)), X, 5, EFFORTS["quick"], 0.0)]
    assert [part for part, _ in charts] == [slice(0, 3), slice(3, 6)]
    assert [chart.n for _, chart in charts] == [3, 1]
    assert {seed for _, chart in charts for seed in chart.seeds.base} == {charts[0][1].seeds.base[0]}
    assert {rms for _, chart in charts for rms in chart.rms.tolist()} == {1.0}  # 0 stands for 1
