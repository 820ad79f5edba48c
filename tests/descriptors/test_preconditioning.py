"""Local scaling to a requested error, with the rough blocks of a decoder's locations as preconditioner."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import theodolite
from theodolite import InputError, LatentMap, local_scaling
from theodolite.descriptors import EFFORTS
from theodolite.descriptors.preconditioning import location_blocks
from theodolite.estimates import Seeds

RTOL = 0.03
SEEDS = 24


def convolutions():
    """A decoder whose channels differ much in strength, as trained ones do."""
    torch.manual_seed(0)
    first, up = nn.Conv2d(4, 24, 3, padding=1), nn.Conv2d(24, 3 * 4, 3, padding=1)
    with torch.no_grad():
        first.weight *= torch.tensor([0.3, 1.0, 2.0, 4.0])[:, None, None]
    return nn.Sequential(first, nn.SiLU(), up, nn.PixelShuffle(2)).double().eval()


MAP = LatentMap(convolutions(), (4, None, None), name="convolutions")
Z = torch.randn(1, 4, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def truth():
    return local_scaling(MAP, Z, dense=True)


@pytest.fixture(scope="module")
def found():
    return [local_scaling(MAP, Z, rtol=RTOL, generator=seed) for seed in range(SEEDS)]


def test_the_error_is_kept_and_honest(found, truth):
    values, errors = (torch.cat([getattr(one, name) for one in found]) for name in ("value", "stderr"))
    assert (errors <= RTOL * 576).all()
    z = (values - truth.value) / errors
    assert abs(z.mean()) < 0.6
    assert 0.5 < z.std() < 1.3


def test_it_costs_a_part_of_the_dense_jacobian(found):
    for one in found:
        assert one.method == "golub-kahan, block preconditioner"
        assert one.n >= 6
        assert one.passes < 576 / 2


def test_the_blocks_bring_the_singular_values_together():
    operator = theodolite.jacobian(MAP, Z)
    P = location_blocks(operator, Seeds(0, 1))
    plain, whitened = (
        torch.linalg.svdvals(A.dense()[0]).log().std() for A in (operator.flat, P.applied(operator.flat))
    )
    assert P.passes == 16
    assert whitened < 0.8 * plain


def test_the_part_for_each_dimension(found):
    one = found[0]
    torch.testing.assert_close(one["local_scaling_per_dimension"].value, one.value / 576)
    torch.testing.assert_close(one["local_scaling_per_dimension"].stderr, one.stderr / 576)


def test_many_latents_are_measured_as_one_by_one():
    both = torch.cat([Z, Z.flip(-1)])
    together = local_scaling(MAP, both, rtol=RTOL, generator=[5, 6])
    alone = local_scaling(MAP, Z.flip(-1), rtol=RTOL, generator=[6])
    assert (together.value[1] - alone.value[0]).abs() < 3 * together.stderr[1]
    assert (together.stderr <= RTOL * 576).all()


def test_a_map_without_locations_goes_without_a_preconditioner(truth):
    net = convolutions()
    flat = LatentMap(lambda z: net(z.reshape(-1, 4, 12, 12)).flatten(1), (576,), name="flat")
    one = local_scaling(flat, Z.flatten(1), rtol=0.05)
    assert one.method in ("golub-kahan", "dense")
    assert (one.value - truth.value).abs() <= 3 * one.stderr + 1e-8


def test_a_small_latent_is_taken_whole():
    z = Z[..., :4, :4]
    one = local_scaling(MAP, z, rtol=0.01)
    assert (one.method, one.passes) == ("dense", 64)
    torch.testing.assert_close(one.value, local_scaling(MAP, z, dense=True).value)


@pytest.mark.parametrize("other", [{"mode": "paper"}, {"dense": True}, {"effort": EFFORTS["quick"]}])
def test_rtol_decides_alone(other):
    with pytest.raises(InputError, match=next(iter(other))):
        local_scaling(MAP, Z, rtol=RTOL, **other)


@pytest.mark.real
@pytest.mark.slow
def test_the_reference_latent_to_one_per_cent(shared):
    pytest.importorskip("diffusers")
    data = pytest.importorskip("skimage.data")
    taesd = theodolite.load(str(shared / "models" / "taesd"))
    image = torch.tensor(data.astronaut()[100:228, 180:308] / 127.5 - 1).permute(2, 0, 1)[None].float()
    one = local_scaling(taesd.decoder, taesd.encode(image), rtol=0.01)
    assert one.passes < 1024  # the dense way
    assert one.stderr <= 10.24
    assert abs(one.value.item() - 1151.44) < 3 * one.stderr.item()
