"""Scores against their formulas, and the likelihood identity against exact densities."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from theodolite.descriptors import REGISTRY, Effort
from theodolite.detection import (
    SCORES,
    computed,
    departure,
    evaluate,
    map_scores,
    nearest_neighbour,
    negative_log_likelihood,
    pixel_energy,
    prior_nll,
    score_norm,
)
from theodolite.detection.scores import BASELINES, descriptors_for
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.maps import LatentMap
from theodolite.zoo.toys import linear


def spearman(a, b):
    ranks = torch.stack([a.argsort().argsort().double(), b.argsort().argsort().double()])
    return float(torch.corrcoef(ranks)[0, 1])


def image_map(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=2), nn.Conv2d(4, 3, 3, padding=1)]
    return LatentMap(nn.Sequential(*layers).double().eval(), (2, 4, 4))


def test_everything_that_scores_need_exists():
    quantities = {quantity.name for descriptor in REGISTRY.values() for quantity in descriptor.quantities}
    assert {need for score in SCORES.values() for need in score.needs} <= quantities | set(BASELINES)
    assert descriptors_for(["lc_over_phfe", "score_norm"]) == ["axis_rotation", "detail_energy"]


def test_scores_are_their_formulas():
    z = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = map_scores(image_map(), z, generator=4)
    LS, LC, PHFE, q = (
        found[name].value for name in ("leading_singular_value", "axis_rotation", "detail_energy", "detail_q")
    )
    torch.testing.assert_close(found["lc_over_phfe"].value, LC / PHFE)
    torch.testing.assert_close(found["minus_ls"].value, -LS)
    torch.testing.assert_close(found["one_over_phfe"].value, 1 / PHFE)
    torch.testing.assert_close(found["lc_over_ls2"].value, LC / LS**2)
    torch.testing.assert_close(found["lc_over_q"].value, LC / q)
    torch.testing.assert_close(
        found["negative_log_likelihood"].value, found["local_scaling"].value + prior_nll(z).value
    )
    ratio, rotation = found["lc_over_phfe"], found["axis_rotation"]
    assert (ratio.stderr / ratio.value >= 0.99 * rotation.stderr / rotation.value).all()
    assert "reconstruction_error" not in found


def test_the_relative_error_of_a_power_is_multiplied_by_it():
    """Of `a / b²` with errors of 3 and 2 %: 3 and 4 % in quadrature are 5 %."""
    quantities = {"axis_rotation": Estimate.of(200.0, 6.0), "leading_singular_value": Estimate.of(10.0, 0.2)}
    ratio = computed(quantities, ["lc_over_ls2"])["lc_over_ls2"]
    assert ratio.item() == pytest.approx(2.0)
    assert float(ratio.stderr) == pytest.approx(0.05 * 2.0)


def test_scores_do_not_depend_on_the_batch_nor_on_rotations_of_the_output():
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 6)).double()
    turned = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    names = ("local_scaling", "local_rank", "leading_singular_value", "axis_rotation", "lc_over_ls2")
    one = map_scores(LatentMap(net, (3,)), z, scores=names, generator=[5, 6, 7, 8])
    rotated = map_scores(LatentMap(lambda x: net(x) @ turned, (3,)), z, scores=names, generator=[5, 6, 7, 8])
    alone = map_scores(LatentMap(net, (3,)), z[2:3], scores=names, generator=[7])
    for name in names:
        torch.testing.assert_close(one[name].value, rotated[name].value)
        torch.testing.assert_close(one[name].value[2:3], alone[name].value)


def test_the_ratio_is_not_free_of_scale():
    """LC / PHFE falls with the square of the output's scale, LC / q does not: section 7 of the decoupling note."""
    z = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    small = image_map()
    large = LatentMap(lambda x: 3 * small(x), (2, 4, 4))
    a, b = (map_scores(one, z, scores=("lc_over_phfe", "lc_over_q"), generator=0) for one in (small, large))
    torch.testing.assert_close(b["lc_over_phfe"].value, a["lc_over_phfe"].value / 9, rtol=1e-6, atol=0)
    torch.testing.assert_close(b["lc_over_q"].value, a["lc_over_q"].value, rtol=1e-6, atol=0)


def test_undetermined_values_are_no_scores():
    identity = LatentMap(lambda x: x * 1.0, (4, 4, 4))
    found = map_scores(identity, torch.randn(2, 4, 4, 4).double(), scores=("axis_rotation", "local_rank"))
    assert found["axis_rotation"].value.isnan().all()
    assert found["local_rank"].value == pytest.approx(torch.tensor([64.0, 64.0]).double())


def test_the_likelihood_of_a_linear_map_is_exact():
    draw = torch.Generator().manual_seed(0)
    A = torch.randn(7, 4, generator=draw, dtype=torch.float64)
    z = torch.randn(50, 4, generator=draw, dtype=torch.float64)
    found = negative_log_likelihood(linear(A), z, dense=True)
    Q, R = torch.linalg.qr(A)
    law = torch.distributions.MultivariateNormal(torch.zeros(4, dtype=torch.float64), R @ R.T)
    torch.testing.assert_close(found.value, -law.log_prob(z @ A.T @ Q), rtol=0, atol=1e-6)
    assert found.stderr.max() == 0


def test_another_prior():
    z = torch.rand(5, 3, dtype=torch.float64)
    found = negative_log_likelihood(linear(2 * torch.eye(3, dtype=torch.float64)), z, torch.zeros(5))
    torch.testing.assert_close(found.value, torch.full((5,), 3 * math.log(2), dtype=torch.float64))


def test_the_likelihood_of_a_relu_map_orders_like_its_density():
    """An expanding ReLU network 2 -> 2 with leaks; its density, by a kernel estimate from 60,000 samples."""
    draw = torch.Generator().manual_seed(3)
    layers = []
    for _ in range(3):
        layer = nn.Linear(2, 2).double()
        Q = torch.linalg.qr(torch.randn(2, 2, generator=draw, dtype=torch.float64)).Q
        layer.weight.data = 1.3 * Q
        layer.bias.data = 0.4 * torch.randn(2, generator=draw, dtype=torch.float64)
        layers += [layer, nn.LeakyReLU(0.35)]
    net = LatentMap(nn.Sequential(*layers), (2,))
    with torch.no_grad():
        samples = net(torch.randn(60_000, 2, generator=draw, dtype=torch.float64))
        z = torch.randn(200, 2, generator=draw, dtype=torch.float64)
        distances = torch.cdist(net(z), samples)
    width = 0.06
    density = (-(distances / width).square() / 2).exp().mean(-1)
    found = negative_log_likelihood(net, z, dense=True).value
    assert spearman(found, -density.log()) > 0.97
    assert spearman(prior_nll(z).value, -density.log()) < spearman(found, -density.log())


def test_the_likelihood_of_an_expanding_relu_map_into_more_dimensions():
    """2 -> 6: the density on the image, by counting samples in small balls of the surface."""
    draw = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(2, 24), nn.ReLU(), nn.Linear(24, 6)).double()
    net[0].weight.data *= 2
    net[0].bias.data *= 3
    with torch.no_grad():
        samples = net(torch.randn(80_000, 2, generator=draw, dtype=torch.float64))
        z = torch.randn(150, 2, generator=draw, dtype=torch.float64)
        nearest = torch.cdist(net(z), samples).sort(dim=-1).values[:, 60]
    psi = negative_log_likelihood(LatentMap(net, (2,)), z, dense=True).value
    assert spearman(psi, 2 * nearest.log()) > 0.9


def test_a_map_to_fewer_dimensions_has_no_such_density():
    with pytest.raises(InputError, match="at least as many outputs"):
        negative_log_likelihood(linear(torch.ones(1, 2)), torch.zeros(1, 2))
    with pytest.raises(InputError, match="one value for each of 2"):
        negative_log_likelihood(linear(torch.eye(2)), torch.zeros(2, 2), torch.zeros(3))


def test_baselines():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert score_norm(x).value.tolist() == [0, 5]
    assert prior_nll(x).value.tolist() == pytest.approx([math.log(2 * math.pi), math.log(2 * math.pi) + 12.5])
    assert pixel_energy(x).value.tolist() == [0, 0.5]
    assert nearest_neighbour(x, torch.tensor([[0.0, 1.0], [3.0, 0.0]])).value.tolist() == [1, 4]
    grouped = nearest_neighbour(x, x, groups=["a", "b"], reference_groups=["a", "b"])
    assert grouped.value.tolist() == [5, 5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: nearest_neighbour(x, torch.zeros(3, 5)), "references like points"),
        (lambda x: nearest_neighbour(x, x, groups=[0, 1]), "together"),
        (lambda x: nearest_neighbour(x, x, groups=[0, 0], reference_groups=[0, 0]), "without one"),
        (lambda x: computed({}, ["local_rank"]), "needs local_rank"),
        (lambda x: computed({}, ["nothing"]), "there are negative_log_likelihood"),
        (lambda x: map_scores(linear(torch.eye(2)), x, scores=["detail_q"]), "spatial|channels"),
        (lambda x: map_scores(linear(torch.eye(2)), x, floor=0.0), "positive singular value"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call(torch.zeros(2, 2))


def test_departure_needs_no_orientation():
    draw = torch.Generator().manual_seed(0)
    normal = torch.randn(60, 3, generator=draw, dtype=torch.float64)
    signs = torch.randint(2, (40, 3), generator=draw).double() * 2 - 1
    unusual = signs * 2 + 0.3 * torch.randn(40, 3, generator=draw, dtype=torch.float64)
    values, reference = torch.cat([normal, unusual]), torch.arange(100) < 60
    labels = (~reference).long()
    score = departure(dict(zip("abc", values.T)), reference, range(100))
    changed = departure(dict(zip("abc", (-values).exp().T)), reference, range(100))
    torch.testing.assert_close(score, changed)
    assert evaluate(score, labels)["score"]["auroc"] > 0.95
    assert evaluate(values[:, 0], labels)["score"]["auroc"] < 0.8


def test_departure_compares_with_other_groups_only():
    """Of 0, 0 | 1 | 2 the first lies below both of the others, 2 / 3 two-sided; its twin in the group says nothing."""
    score = departure({"a": torch.tensor([0.0, 0, 1, 2])}, torch.ones(4, dtype=torch.bool), ["a", "a", "b", "c"])
    assert score.tolist() == pytest.approx([-math.log(2 / 3), -math.log(2 / 3), 0, -math.log(1 / 2)])


def test_departure_is_fair_to_the_reference_and_to_missing_values():
    """Reference samples are compared with other groups only: new normal samples score alike."""
    aurocs = []
    for seed in range(40):
        draw = torch.Generator().manual_seed(seed)
        centres = torch.randn(40, 2, generator=draw, dtype=torch.float64).repeat_interleave(4, 0)
        values = centres + 0.1 * torch.randn(160, 2, generator=draw, dtype=torch.float64)
        groups, reference = [place // 4 for place in range(160)], torch.arange(160) < 80
        score = departure(dict(zip("ab", values.T)), reference, groups)
        aurocs.append(evaluate(score, (~reference).long(), groups=groups, resamples=5)["score"]["auroc"])
    assert sum(aurocs) / 40 == pytest.approx(0.5, abs=0.05)
    column = torch.tensor([0.0, 1, 2, math.nan])
    found = departure({"a": column, "b": torch.arange(4.0)}, torch.tensor([True, True, True, False]), range(4))
    assert found.isfinite().all()
    with pytest.raises(InputError, match="two groups"):
        departure({"a": column}, torch.tensor([True, True, True, False]), [0, 0, 0, 1])
    with pytest.raises(InputError, match="at least one quantity"):
        departure({}, torch.tensor([True]), [0])


def test_an_effort_is_taken():
    z = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    found = map_scores(image_map(), z, scores=["local_complexity"], effort=Effort(frames=2, axes=2))
    assert isinstance(found["local_complexity"], Estimate)
    assert found["local_complexity"].n == 2


def test_a_null_direction_does_not_make_a_volume_larger():
    """Half of a ReLU: log(1/2) a direction that is on; one that is off counts as the floor, and not as nothing."""
    half = LatentMap(lambda z: 0.5 * z.relu(), (4,))
    points = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, -1.0]], dtype=torch.float64)
    scores = map_scores(half, points, scores=["local_scaling", "gain"])
    whole, part = scores["local_scaling"].value.tolist()
    assert whole == pytest.approx(4 * math.log(0.5))
    assert part == pytest.approx(4 * math.log(0.5) + math.log(1e-4))
    torch.testing.assert_close(scores["gain"].value, torch.tensor([1.0, 0.75**0.5], dtype=torch.float64))
    assert SCORES["gain"].kind == "baseline"
