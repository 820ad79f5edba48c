"""What an affine map of one latent space leaves of another: closed forms, and intervals that hold."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.diffusability.affine import FITS, unexplained
from theodolite.errors import InputError


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SOURCES = [f"source-{n // 2}" for n in range(12)]


class TestExactMaps:
    @pytest.mark.parametrize(
        ("change", "first_that_fits"),
        [
            (lambda z: z, "identity"),
            (lambda z: -3 * z + 2, "scale"),
            (lambda z: z * torch.tensor([1.0, -2.0, 0.1])[:, None, None] + 1, "channelwise"),
            (lambda z: torch.einsum("oc,nchw->nohw", normal(3, 3, seed=5), z) - 1, "affine"),
        ],
    )
    def test_nothing_is_left_by_the_first_kind_that_holds_the_map(self, change, first_that_fits):
        z = normal(12, 3, 4, 4)
        left = unexplained(z, change(z), SOURCES)
        names = [*FITS]
        for name in names:
            fits = names.index(name) >= names.index(first_that_fits)
            assert (float(left[name].value[0]) < 1e-12) == fits, name
            assert not fits or float(left[name].stderr[0]) < 1e-12

    def test_fewer_channels_are_a_map_of_more(self):
        z = normal(12, 4, 3, 3)
        left = unexplained(z, z[:, :2] - z[:, 2:], SOURCES)
        assert set(left) == {"affine"}
        assert left["affine"].value.shape == (3,)
        assert left["affine"].value.max() < 1e-12

    def test_vectors_are_rows_of_their_own(self):
        z = normal(60, 3)
        assert float(unexplained(z, z @ normal(3, 3, seed=1), [*range(60)])["affine"].value[0]) < 1e-12

    def test_an_empty_channel_of_the_first_space_is_no_obstacle(self):
        z = normal(12, 2, 4, 4)
        padded = torch.cat([z, 0 * z[:, :1]], 1)
        assert float(unexplained(padded, z, SOURCES)["affine"].value[0]) < 1e-12


class TestAnswers:
    def test_scale_and_shift_of_either_space_change_no_fitted_share(self):
        x, y = normal(12, 3, 4, 4), normal(12, 3, 4, 4, seed=1)
        plain, moved = unexplained(x, x + y, SOURCES), unexplained(7 * x - 3, 0.01 * (x + y) + 5, SOURCES)
        for name in ("scale", "channelwise", "affine"):
            torch.testing.assert_close(plain[name].value, moved[name].value, rtol=1e-8, atol=1e-10)
            torch.testing.assert_close(plain[name].stderr, moved[name].stderr, rtol=1e-6, atol=1e-10)

    def test_more_general_maps_leave_no_more_on_average(self):
        x, y = normal(40, 3, 6, 6), normal(40, 3, 6, 6, seed=1)
        turned = torch.einsum("oc,nchw->nohw", normal(3, 3, seed=2), x) + 0.3 * y
        left = [float(e.value[0]) for e in unexplained(x, turned, [*range(40)]).values()]
        assert left == sorted(left, reverse=True)

    def test_a_channel_that_never_moves_has_nothing_to_explain(self):
        x = normal(12, 2, 4, 4)
        y = torch.cat([x[:, :1], torch.full_like(x[:, :1], 0.3)], 1)
        for estimate in unexplained(x, y, SOURCES).values():
            assert estimate.statuses == ("ok", "ok", "undetermined")
            assert math.isnan(float(estimate.value[2]))

    @pytest.mark.parametrize(("count", "name"), [(2, "identity"), (2, "affine"), (3, "affine")])
    def test_too_few_groups_or_rows_are_no_number(self, count, name):
        z = normal(count, 5)
        assert set(unexplained(z, normal(count, 5, seed=1), [*range(count)])[name].statuses) == {"undetermined"}

    def test_many_groups_are_left_out_in_blocks(self):
        z = normal(100, 2, 2, 2)
        estimate = unexplained(z, z + normal(100, 2, 2, 2, seed=1), [*range(100)])["affine"]
        assert estimate.n == 32
        assert float(estimate.value[0]) == pytest.approx(0.5, abs=3 * float(estimate.stderr[0]))

    def test_what_does_not_belong_together_is_refused(self):
        with pytest.raises(InputError, match="same images and locations"):
            unexplained(normal(4, 2, 3, 3), normal(4, 2, 6, 6), [*range(4)])
        with pytest.raises(InputError, match="and 3 groups"):
            unexplained(normal(4, 2, 3, 3), normal(4, 2, 3, 3), [*range(3)])


def case(groups, each, seed, share):
    """Latents that vary by source, image and location; `share` of the second space's variance is noise."""
    g = torch.Generator().manual_seed(seed)
    n, C, side = groups * each, 3, 4
    loud = torch.exp(0.4 * torch.randn(groups, generator=g, dtype=torch.float64))

    def field():
        sizes = ((groups, 1, 1), (n, 1, 1), (n, side, side))
        parts = [torch.randn(k, C, *space, generator=g, dtype=torch.float64) for k, *space in sizes]
        whole = 0.7 * parts[0].repeat_interleave(each, 0) + 0.7 * parts[1] + parts[2]
        return loud.repeat_interleave(each)[:, None, None, None] * whole

    A = normal(C, C, seed=3)
    x = field()
    noise = field() * ((A @ A.T).diagonal() * share / (1 - share)).sqrt()[:, None, None]
    return x, torch.einsum("oc,nchw->nohw", A, x) + noise, [place // each for place in range(n)]


@pytest.mark.parametrize(("groups", "each"), [(4, 3), (8, 2), (20, 1)])
def test_intervals_hold_the_share_that_the_best_map_leaves(groups, each):
    """Of 200 data sets of a known share; 95 % less three standard deviations of a count is 181."""
    held, values = 0, []
    for seed in range(200):
        estimate = unexplained(*case(groups, each, seed, 0.2))["affine"]
        values.append(float(estimate.value[0]))
        held += abs(values[-1] - 0.2) <= 1.96 * float(estimate.stderr[0])
    assert held >= 181
    assert sum(values) / 200 == pytest.approx(0.2, abs=0.01)  # without the bias of the fit
