"""Location maps against dense Jacobians, over seeds, under changes of scale and batch, and with attention."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import theodolite
from theodolite import InputError, LatentMap, location_map
from theodolite.data.images import load_image

FIELDS = ("gain", "scaling", "rank")


def convolutions(channels=3):
    torch.manual_seed(0)
    layers = (nn.Conv2d(channels, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1), nn.SiLU())
    up = (nn.Upsample(scale_factor=2), nn.Conv2d(16, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1))
    return nn.Sequential(*layers, *up).double().eval()


MAP = LatentMap(convolutions(), (3, None, None), name="convolutions")
Z = 2 * torch.randn(1, 3, 10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def exact_blocks(map, z):
    J = theodolite.jacobian(map, z).dense().unflatten(-1, z.shape[1:])
    return torch.einsum("nrchw,nrdhw->nhwcd", J, J)


def scores(found, exact, name):
    field = getattr(found, name)
    return (field.value - getattr(exact, name).value) / field.stderr


def over_seeds(map, z, passes, seeds):
    exact = location_map(map, z, passes=z[0].numel())
    return location_map(map, z.expand(seeds, -1, -1, -1), passes=passes, generator=range(seeds)), exact


def check_honest(found, exact, off_centre=0.3):
    for name in FIELDS:
        z = scores(found, exact, name)
        assert abs(z.mean()) < off_centre
        assert 0.7 < z.std() < 1.3


def test_the_dense_way_is_exact():
    found = location_map(MAP, Z, passes=300)
    blocks = exact_blocks(MAP, Z)
    assert found.method == "dense"
    assert found.passes == 300
    torch.testing.assert_close(found.blocks, blocks)
    torch.testing.assert_close(found.gain.value, blocks.diagonal(dim1=-2, dim2=-1).sum(-1))
    torch.testing.assert_close(found.scaling.value, 0.5 * torch.linalg.slogdet(blocks)[1])
    assert not any(getattr(found, name).stderr.any() for name in FIELDS)


def test_a_map_without_leakage_is_exact_by_colouring():
    """Each latent cell makes its own 2x2 patch."""
    torch.manual_seed(0)
    patches = LatentMap(nn.ConvTranspose2d(3, 2, 2, stride=2).double(), (3, None, None))
    z = torch.randn(1, 3, 6, 6, dtype=torch.float64)
    found = location_map(patches, z, passes=36)
    assert found.method == "colouring"
    torch.testing.assert_close(found.blocks, exact_blocks(patches, z))
    for name in FIELDS:
        assert (getattr(found, name).stderr < 1e-6).all()


def test_standard_errors_are_honest():
    found, exact = over_seeds(MAP, Z, passes=48, seeds=40)
    assert set(found.statuses) == {"ok"}
    check_honest(found, exact)


def test_standard_errors_are_honest_on_a_trained_decoder():
    """Group normalisation couples all locations there; draws that come out low state smaller errors, which shifts z."""
    decoder = theodolite.load("zoo:patches-kl").decoder.to(dtype=torch.float64)
    z = torch.randn(1, 4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    check_honest(*over_seeds(decoder, z, passes=72, seeds=12), off_centre=0.4)


def test_edges_are_as_honest_as_the_inside():
    found, exact = over_seeds(MAP, Z, passes=48, seeds=30)
    edge = torch.ones(10, 10, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    for name in FIELDS:
        for part in (edge, ~edge):
            assert 0.6 < scores(found, exact, name)[:, part].square().mean().sqrt() < 1.4


def test_the_total_gain_is_unbiased():
    found, exact = over_seeds(MAP, Z, passes=48, seeds=40)
    totals = found.gain.value.sum((-1, -2))
    truth = exact.gain.value.sum()
    assert abs(totals.mean() - truth) < 3 * totals.std() / 40**0.5
    assert found.gain.level_bias.abs().max() < 1e-9 * truth


def test_more_passes_are_more_exact_and_say_so():
    errors, stated = [], []
    for passes in (24, 60, 120):
        found, exact = over_seeds(MAP, Z, passes, seeds=6)
        assert found.passes <= passes
        errors.append((found.scaling.value - exact.scaling.value).square().mean())
        stated.append(found.scaling.stderr.square().mean())
    assert errors == sorted(errors, reverse=True)
    assert stated == sorted(stated, reverse=True)


def test_blocks_are_positive_definite_and_symmetric():
    blocks = location_map(MAP, Z, passes=48).blocks
    torch.testing.assert_close(blocks, blocks.mT)
    assert (torch.linalg.eigvalsh(blocks) > 0).all()


def test_scaling_the_output_scales_the_fields():
    triple = LatentMap(lambda z: 3 * MAP(z), (3, None, None))
    once, thrice = location_map(MAP, Z, passes=60), location_map(triple, Z, passes=60)
    torch.testing.assert_close(thrice.gain.value, 9 * once.gain.value)
    torch.testing.assert_close(thrice.gain.stderr, 9 * once.gain.stderr)
    torch.testing.assert_close(thrice.scaling.value, once.scaling.value + 3 * math.log(3))
    torch.testing.assert_close(thrice.scaling.stderr, once.scaling.stderr)
    torch.testing.assert_close(thrice.rank.value, once.rank.value)


def test_a_batch_gives_what_single_latents_give():
    z = torch.cat([Z, -Z])
    both = location_map(MAP, z, passes=60, generator=[3, 4])
    second = location_map(MAP, z[1:], passes=60, generator=[4])
    for name in FIELDS:
        torch.testing.assert_close(getattr(both, name).value[1:], getattr(second, name).value)
        torch.testing.assert_close(getattr(both, name).stderr[1:], getattr(second, name).stderr)
    flat = both.estimate("scaling")
    assert torch.equal(flat.value, both.scaling.value.flatten())
    assert flat.passes == both.passes


class Pooled(nn.Module):
    """Convolutions, and every location's features mixed into every other's, as an attention of equal weights would."""

    def __init__(self, strength):
        super().__init__()
        self.local, self.strength = convolutions(), strength

    def forward(self, z):
        change = self.local(z)
        return change + self.strength * z.sum((-1, -2))[:, :, None, None]


def test_a_global_response_widens_the_error_bar():
    stated = []
    for strength in (0.0, 3e-4, 1e-3):
        map = LatentMap(Pooled(strength).eval(), (3, None, None))
        found, exact = over_seeds(map, Z, passes=60, seeds=15)
        stated.append((found.gain.stderr / exact.gain.value).mean())
        z = scores(found, exact, "gain")
        assert abs(z.mean()) < 0.3
        assert 0.7 < z.std() < 1.3
    assert stated == sorted(stated)
    assert stated[-1] > 1.5 * stated[0]


def attending(strength):
    """A tiny decoder of Stable Diffusion's class, its middle attention sharpened and amplified."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    model = diffusers.AutoencoderKL(**blocks, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1)
    attention = model.decoder.mid_block.attentions[0]
    with torch.no_grad():
        attention.to_out[0].weight.mul_(strength)
    return LatentMap(model.double().eval().decoder, (4, None, None), name="attending")


def test_attention_in_the_middle_is_in_the_error_bar():
    z = torch.randn(1, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    stated = []
    for strength in (0.0, 100.0):
        found, exact = over_seeds(attending(strength), z, passes=80, seeds=4)
        stated.append(found.scaling.stderr.mean())
        z_scores = scores(found, exact, "scaling")
        assert abs(z_scores.mean()) < 0.3
        assert 0.7 < z_scores.std() < 1.3
    assert stated[1] > 1.3 * stated[0]


def test_a_map_that_is_all_leakage_is_undetermined():
    torch.manual_seed(0)
    mixing = nn.Linear(108, 108, bias=False).double()
    with torch.no_grad():
        mixing.weight.mul_((1.5 * torch.randn(36)).exp().repeat(3))
    net = nn.Sequential(nn.Flatten(), mixing, nn.Unflatten(1, (3, 6, 6)))
    z = Z[..., :6, :6].expand(6, -1, -1, -1)
    found = location_map(LatentMap(net, (3, 6, 6)), z, passes=60, generator=range(6))
    assert set(found.statuses) == {"undetermined"}
    assert "more passes" in found.message


def without_locality(gains):
    """Every output sees every location, each with its gain, alike but for its own matrix."""
    matrix = torch.randn(108, 108, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return LatentMap(lambda z: (((z * gains).flatten(1)) @ matrix.T).reshape(z.shape), (3, 6, 6))


def test_the_noise_of_signs_is_no_bias_where_every_location_answers_to_all():
    """Twelve locations share a colour: each block is that of nine numbers, whose `log det` is far below its mean's."""
    found, exact = over_seeds(without_locality(torch.ones(6, 6).double()), Z[..., :6, :6], passes=36, seeds=40)
    for name in ("scaling", "rank"):
        z = scores(found, exact, name)
        assert abs(z.mean()) < 0.3
        assert 0.6 < z.std() < 1.2


def test_weak_locations_beside_strong_ones_are_undetermined_and_the_others_hold():
    gains = torch.randn(10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).exp()
    map = LatentMap(lambda z: MAP(z * gains), (3, 10, 10))
    found, exact = over_seeds(map, Z, passes=84, seeds=10)
    ok = torch.tensor([status == "ok" for status in found.statuses]).reshape(found.gain.value.shape)
    weak, strong = gains < gains.quantile(0.2), gains > gains.quantile(0.8)
    assert ok[:, strong].double().mean() > ok[:, weak].double().mean() + 0.3
    assert "more passes" in found.message
    for name in FIELDS:
        assert (scores(found, exact, name)[ok].abs() < 1.96).double().mean() > 0.9


@pytest.mark.parametrize(
    ("function", "shape", "passes", "words"),
    [
        (lambda z: z, (5,), None, r"latents \(n, C, H, W\), got \(1, 5\)"),
        (lambda z: z.flatten(1), (2, 4, 4), None, r"got \(32,\)"),
        (lambda z: z[..., 1:], (2, 4, 4), None, r"a \* 4, b \* 4"),
        (lambda z: z, (2, 4, 4), 9, "at least 10"),
        (lambda z: z, (2, 4, 4), 20.5, "whole number"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(function, shape, passes, words):
    with pytest.raises(InputError, match=words) as error:
        location_map(LatentMap(function, shape), torch.ones(1, *shape), passes=passes)
    assert "\n" not in str(error.value)


def test_an_unknown_field_is_refused():
    with pytest.raises(InputError, match="gain"):
        location_map(LatentMap(lambda z: z, (2, 2, 2)), torch.ones(1, 2, 2, 2)).estimate("curvature")


@pytest.mark.real
def test_a_real_decoder(shared):
    pytest.importorskip("diffusers")
    taesd = theodolite.load(str(shared / "models" / "taesd"))
    photo = shared / "images" / "photos" / "astronaut_0128_0128.png"
    z = taesd.encode(load_image(photo, channels=3, size=64))
    found, exact = over_seeds(taesd.decoder, z, passes=96, seeds=6)
    check_honest(found, exact)
    for name in ("gain", "scaling"):
        truth = getattr(exact, name).value
        for field in getattr(found, name).value:
            ranks = torch.stack([part.flatten().argsort().argsort().double() for part in (field, truth)])
            assert torch.corrcoef(ranks)[0, 1] > 0.98
        assert abs(getattr(found, name).value.mean() / truth.mean() - 1) < 0.1
