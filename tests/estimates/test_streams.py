"""Random streams: one a latent and purpose, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from theodolite.errors import InputError
from theodolite.estimates import Seeds, normal_like, permutation_like, signs_like, stream_of


def test_an_integer_gives_every_prefix_of_a_batch_the_same_draws():
    whole, part = Seeds(1, 5), Seeds(1, 2)
    assert whole.base[:2] == part.base
    assert torch.equal(whole.normal("a", 7)[:2], part.normal("a", 7))


def test_a_sequence_gives_every_subset_the_same_draws():
    whole, part = Seeds([4, 5, 6], 3), Seeds([6, 5], 2)
    assert torch.equal(whole.normal("a", 7)[[2, 1]], part.normal("a", 7))
    assert torch.equal(whole.frame("a", 3, 7)[:, [2, 1]], part.frame("a", 3, 7))
    assert torch.equal(Seeds(Seeds(3, 4).base, 4).normal("a", 2), Seeds(3, 4).normal("a", 2))


def test_draws_repeat_and_do_not_touch_the_global_stream():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    assert torch.equal(Seeds(1, 2).normal("a", 3), Seeds(1, 2).normal("a", 3))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_purposes_latents_and_seeds_are_independent():
    draws = torch.cat([Seeds(seed, 3).normal(purpose, 4000) for seed in (0, 1) for purpose in ("a", "b")])
    correlation = torch.corrcoef(draws) - torch.eye(len(draws), dtype=torch.float64)
    assert correlation.abs().max() < 5 / 4000**0.5


def test_none_is_seed_zero_and_numpy_integers_are_integers():
    assert Seeds(None, 3).base == Seeds(0, 3).base
    assert Seeds(np.int64(4), 3).base == Seeds(4, 3).base


def test_a_generator_is_advanced_by_one_draw():
    first, second = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    assert Seeds(first, 3).base == Seeds(second, 3).base
    assert Seeds(first, 3).base != Seeds(torch.Generator().manual_seed(0), 3).base


def test_a_sequence_of_another_length_is_refused():
    with pytest.raises(InputError, match=r"one seed a latent expected \(3\), got 2"):
        Seeds([1, 2], 3)


def test_frames_are_orthonormal_and_uniform():
    frames = Seeds(0, 2000).frame("f", 2, 3)
    assert frames.shape == (2, 2000, 3)
    gram = torch.einsum("inc,jnc->nij", frames, frames)
    torch.testing.assert_close(gram, torch.eye(2, dtype=torch.float64).expand(2000, -1, -1))
    assert frames.mean(1).abs().max() < 4 / (3 * 2000) ** 0.5
    torch.testing.assert_close(
        frames.square().mean(1), torch.full((2, 3), 1 / 3, dtype=torch.float64), rtol=0.08, atol=0
    )


def test_directions_have_length_one():
    directions = Seeds(0, 4).unit("u", 5, 6)
    assert directions.shape == (5, 4, 6)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(5, 4, dtype=torch.float64))


def test_draws_are_standard_normal():
    draws = Seeds(0, 10).normal("n", 5000)
    assert draws.dtype is torch.float64
    assert abs(draws.mean()) < 0.02
    assert abs(draws.std() - 1) < 0.02


def test_a_seed_repeats_and_a_generator_goes_on():
    like = torch.zeros(3, dtype=torch.float32)
    stream = torch.Generator().manual_seed(5)
    for draw in (lambda g: normal_like(like, torch.Size([40]), g), lambda g: signs_like(like, torch.Size([40]), g)):
        assert torch.equal(draw(5), draw(5))
        assert not torch.equal(draw(stream), draw(stream))
        assert draw(5).dtype is torch.float32
    assert set(signs_like(like, torch.Size([40]), 0).tolist()) == {-1.0, 1.0}
    assert sorted(permutation_like(like, 9, 0).tolist()) == list(range(9))
    assert stream_of(stream) is stream


@pytest.mark.parametrize("generator", [None, True, 1.5])
def test_a_training_step_draws_from_a_generator_or_a_seed(generator):
    with pytest.raises(InputError, match="whole number"):
        stream_of(generator)
