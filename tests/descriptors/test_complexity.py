"""Local complexity: which units are counted, and what must not change the count."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import theodolite
from theodolite import InputError, LatentMap
from theodolite.derivatives.memory import Footprint
from theodolite.descriptors import EFFORTS, Effort

EFFORT = Effort(frames=3, axes=5, radii=(0.3,))


def layers(activation: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 40), activation, nn.Linear(40, 6)).double().eval()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def count(function, z: Tensor, effort: Effort = EFFORT, **options):
    return theodolite.local_complexity(LatentMap(function, tuple(z.shape[1:])), z, effort=effort, **options)


@pytest.mark.parametrize(
    "activation",
    [
        *(
            nn.ReLU(),
            nn.ReLU(inplace=True),
            nn.ReLU6(),
            nn.LeakyReLU(0.1),
            nn.PReLU(),
            nn.SiLU(),
            nn.SiLU(inplace=True),
        ),
        *(nn.GELU(), nn.GELU("tanh"), nn.ELU(), nn.ELU(inplace=True), nn.Mish(), nn.Hardswish()),
    ],
    ids=repr,
)
def test_every_kinked_activation_counts_once(activation):
    z = draw(1, 5)
    reference, found = count(layers(nn.ReLU()), z), count(layers(activation), z)
    assert found["local_complexity_units"].value.item() == 40
    assert found.value.item() == reference.value.item() > 0


def test_functions_count_like_modules():
    net, z = layers(nn.ReLU()), draw(1, 5)
    for relu in (F.relu, torch.relu, torch.Tensor.relu, lambda x: torch.relu_(x.clone())):
        assert count(lambda z, relu=relu: net[2](relu(net[0](z))), z).value.item() == count(net, z).value.item()


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.Sigmoid(), nn.Hardtanh(), nn.Identity()], ids=repr)
def test_without_a_kink_at_zero_it_is_undefined(activation):
    found = count(layers(activation), draw(1, 5))
    assert found.status == "undefined"
    assert torch.isnan(found.value).all()
    assert torch.isnan(found["local_complexity_fraction"].value).all()
    assert found["local_complexity_units"].value.item() == 0
    assert "activation" in found.message


def test_deeper_layers_and_image_positions_are_units_of_their_own():
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1), nn.SiLU()).double()
    found = count(net, draw(1, 2, 6, 5))
    assert found["local_complexity_units"].value.item() == (3 + 4) * 6 * 5
    fraction = found["local_complexity_fraction"]
    torch.testing.assert_close(fraction.value * 210, found.value)


def test_frames_folded_into_the_batch_are_compared_with_themselves():
    """A video decoder turns `(n, time, channels)` into `(n * time, channels)`; another frame is not another vertex."""
    net, z = layers(nn.ReLU()), draw(1, 4, 5)
    folded = count(lambda z: net(z.reshape(-1, 5)).reshape(-1, 4, 6), z)
    plain = count(net, z)
    assert folded["local_complexity_units"].value.item() == 4 * 40
    assert folded.value.item() == plain.value.item()


def test_what_does_not_depend_on_the_latent_is_never_cut():
    net, z, embedding = layers(nn.ReLU()), draw(1, 5), draw(1, 7)
    found = count(lambda z: net(z) + F.silu(embedding).sum(), z)
    assert found["local_complexity_units"].value.item() == 47
    assert found.value.item() == count(net, z).value.item()


def test_chunks_change_nothing(monkeypatch):
    net, z = layers(nn.ReLU()), draw(2, 5)
    together = count(net, z)
    monkeypatch.setattr(Footprint, "tangents", lambda *_: 3)
    torch.testing.assert_close(count(net, z).value, together.value, rtol=0, atol=0)


def test_the_model_is_left_as_it_was():
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True)).double()
    before, z = copy.deepcopy(net.state_dict()), draw(1, 5)
    kept = z.clone()
    count(net, z)
    assert torch.equal(z, kept)
    for name, weight in net.state_dict().items():
        assert torch.equal(weight, before[name])


def test_too_few_cuts_are_no_number():
    found = count(layers(nn.ReLU()), draw(1, 5), Effort(radii=(1e-9,)))
    assert found.value.item() == 0
    assert found.stderr.item() > 0
    assert found.status == "undetermined"


def test_more_axes_or_a_larger_radius_cut_more():
    net, z = layers(nn.ReLU()), draw(1, 5)
    by_radius = [count(net, z, radius=radius).value.item() for radius in (0.05, 0.2, 0.8)]
    assert by_radius == sorted(by_radius)
    found = count(net, z, Effort(radii=(0.2, 0.05), axes=5))
    assert found["local_complexity_r0.05"].value <= found.value


def test_both_vertices_of_an_axis_are_visited():
    """In one dimension the polytope is `1 ± 0.2`: of kinks at 0.7, 0.9, 1.1 and 1.3 it holds two, on either side."""
    kinks = torch.tensor([0.7, 0.9, 1.1, 1.3], dtype=torch.float64)
    found = count(lambda z: F.relu(z - kinks), torch.ones(1, 1, dtype=torch.float64), radius=0.2)
    assert found.value.item() == 2


def test_the_paper_shares_its_frames_and_states_its_radius():
    net, z = layers(nn.ReLU()), draw(1, 5)
    same = count(net, z.expand(3, -1), mode="paper", generator=[1, 2, 3])
    assert same.value.unique().numel() == 1
    assert same.passes == 3 * 2 * 5
    larger = count(lambda z: net(z / 100), 100 * z, mode="paper")
    assert larger.value <= same.value[:1]


def test_a_radius_must_be_positive():
    with pytest.raises(InputError, match="radius"):
        count(layers(nn.ReLU()), draw(1, 5), radius=-0.1)


@pytest.mark.parametrize("dim", [3, 8, 30])
def test_one_name_is_one_number_of_axes_whatever_the_budget(dim):
    """With the same frames, budgets count the same; another number of axes has a name of its own."""
    torch.manual_seed(0)
    map, z = LatentMap(nn.Sequential(nn.Linear(dim, 400), nn.ReLU()), (dim,)), torch.randn(2, dim)
    values = [
        theodolite.local_complexity(map, z, effort=replace(effort, frames=6, radii=(0.2,)))
        for effort in (*EFFORTS.values(), Effort(axes=20))
    ]
    for found in values[1:]:
        assert torch.equal(found.value, values[0].value)
    assert all("_a" not in name for found in values[:3] for name in found.parts)
    assert ("local_complexity_a20" in values[3].parts) == (dim > 8)
    if dim > 8:
        more = theodolite.local_complexity(map, z, axes=20, effort=Effort(frames=6, radii=(0.2,)))
        assert torch.equal(values[3]["local_complexity_a20"].value, more.value)
        assert (more.value > values[0].value).all()


@pytest.mark.parametrize("axes", [0, -1, 2.5, True])
def test_axes_are_a_whole_number(axes):
    with pytest.raises(InputError, match="`axes`"):
        count(layers(nn.ReLU()), draw(1, 5), axes=axes)
