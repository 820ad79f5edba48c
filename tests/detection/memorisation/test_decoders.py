"""The diagonal of the pull-back against dense products, and losses over some dimensions alone."""

from __future__ import annotations

import pytest
import torch

from theodolite.detection.memorisation import Probe, memorisation_scores
from theodolite.detection.memorisation.decoders import decoder_influence, filtered_loss, most_influential
from theodolite.errors import InputError
from theodolite.maps import Denoiser, LatentMap


def curved(seed=0, d=12, D=30):
    W = torch.randn(D, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return LatentMap(lambda z: (z.flatten(1) @ W.T).sin(), (3, 2, 2)), W


def latents(n=3):
    return torch.randn(n, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def dense(z, W):
    J = (z.flatten(1) @ W.T).cos()[:, :, None] * W
    return J.square().sum(1).reshape(z.shape)


def test_the_influence_of_a_dimension_is_the_squared_norm_of_its_column():
    (map, W), z = curved(), latents()
    estimate = decoder_influence(map, z)
    assert torch.allclose(estimate.value, dense(z, W))
    assert estimate.stderr.max() == 0
    assert estimate.passes == 13


def test_of_many_dimensions_it_is_probed_with_an_error_that_holds():
    (map, W), z = curved(), latents(60)
    estimate = decoder_influence(map, z, passes=11, generator=3)
    z_scores = (estimate.value - dense(z, W)) / estimate.stderr
    assert z_scores.mean().abs() < 0.15
    assert 0.7 < z_scores.square().mean().sqrt() < 1.3
    assert estimate.passes == 11


def test_the_most_influential_dimensions_are_the_largest_of_each_latent():
    influence = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    assert most_influential(influence, 0.5).tolist() == [[True, False, True, False], [False, False, True, True]]
    assert most_influential(influence, 0.01).sum(1).tolist() == [1, 1]
    assert bool(most_influential(influence, 1.0).all())


def test_the_loss_over_all_dimensions_orders_as_the_denoising_loss():
    probe = Probe(Denoiser(lambda x, sigma: x / 2, shape=(3, 2, 2)), latents(), 0.5)
    whole = filtered_loss(probe, torch.ones(3, 3, 2, 2, dtype=torch.bool))
    plain = memorisation_scores()["denoising_loss"].function(probe)
    assert (12 * whole.value).tolist() == pytest.approx(plain.value.tolist())
    part = torch.zeros(3, 3, 2, 2, dtype=torch.bool)
    part[:, 0] = True
    losses = (probe.images - probe.denoised)[:, :, 0].square().mean((0, 2, 3)) / 0.25
    assert filtered_loss(probe, part).value.tolist() == pytest.approx((-losses).tolist())


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: decoder_influence(curved()[0], latents(), passes=3), "4 or more"),
        (lambda: most_influential(torch.ones(2, 4), 0.0), "share of dimensions"),
        (
            lambda: filtered_loss(
                Probe(Denoiser(lambda x, sigma: x / 2, shape=(3, 2, 2)), latents(), 0.5), torch.ones(3, 12) > 0
            ),
            "a mask of shape",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(call, word):
    with pytest.raises(InputError, match=word):
        call()
