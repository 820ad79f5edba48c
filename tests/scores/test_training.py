"""Training: its targets have the right mean, its draws the right law, its record is what happened."""

from __future__ import annotations

import pytest
import torch

from theodolite.scores import GaussianMixtureScore
from theodolite.scores.architectures import denoiser_network
from theodolite.scores.preconditioning import Preconditioning
from theodolite.scores.training import Budget, TrainingRecord, _Trainer, train

D = torch.float64


@pytest.fixture
def set_up(two):
    """A trainer on four points, and what it was made of."""
    g = torch.Generator().manual_seed(0)
    z = torch.cat([two.sample(400, g), 0.5 * two.sample(400, g)], 1)
    scales = Preconditioning.fitted(z, 0.01, 100.0)
    g = torch.Generator().manual_seed(1)
    y, network = scales.turned(z).float(), denoiser_network((2,), 16, 1, g)
    return network, y, scales.to(y), Budget(50, None, 64, 1e-3), g


def test_pooled_targets_have_the_mean_of_the_plain_ones(set_up):
    """Conditional expectations: regressing either on anything of `x_t` gives the same, with less noise."""
    trainer = _Trainer(*set_up)
    products, spread = [], []
    for _ in range(600):
        x, clean, t, u = trainer._batch()
        pooled, plain = trainer._expected(x, clean, t), clean.repeat(2, 1)
        test = torch.stack([torch.ones_like(u), x[:, 0].tanh(), (3 * x[:, 1]).sin() * (u > 0), x[:, 0] * x[:, 1]], 1)
        products.append(torch.einsum("nk,nd->kd", test, pooled - plain) / len(x))
        spread.append(((pooled - plain) ** 2).mean())
    difference = torch.stack(products).double()
    z = difference.mean(0) / (difference.std(0) / len(difference) ** 0.5)
    assert float(z.abs().max()) < 4
    assert float(torch.stack(spread).mean()) > 0.05


def test_noise_comes_in_pairs_over_the_whole_range(set_up):
    trainer = _Trainer(*set_up)
    x, clean, t, u = trainer._batch()
    first, second = x.split(len(clean))
    torch.testing.assert_close(first + second, 2 * clean)
    assert (u[:64].diff() > 0).all()
    assert float(u.min()) < -0.9
    assert float(u.max()) > 0.9
    noise = ((first - clean) / t[:64].sqrt()).flatten()
    assert abs(float(noise.std()) - 1) < 0.25


def test_posteriors_of_distant_points_are_not_pooled():
    g = torch.Generator().manual_seed(0)
    y = torch.randn(2000, 300, generator=g)
    scales = Preconditioning.fitted(y.double(), 1e-3, 1.0)
    budget = Budget(1, None, 16, 1e-3)
    assert not _Trainer(denoiser_network((300,), 8, 1, g), y, scales.to(y), budget, g).pooled
    assert _Trainer(
        denoiser_network((3,), 8, 1, g), y[:, :3], Preconditioning.fitted(y[:, :3], 1e-3, 1.0), budget, g
    ).pooled


def test_the_record(set_up):
    network, y, scales, budget, g = set_up
    shares = []
    record = train(network, y[:300], y[300:], scales, budget, g, lambda share, loss: shares.append(share))
    assert record.steps == 50 == len(shares)
    assert shares[-1] == 1.0
    assert (record.samples, record.held_out, record.interrupted) == (300, 100, False)
    assert len(record.t) == len(record.loss)
    assert record.t[0] == pytest.approx(0.01, rel=1e-4)
    assert record.t[-1] == pytest.approx(100, rel=1e-4)
    losses = {step: loss for step, _, loss in record.history}
    assert losses[record.kept_step] == pytest.approx(sum(record.loss) / len(record.loss))
    assert losses[0] == pytest.approx(1, abs=0.1)


def test_seconds_end_the_training(set_up):
    network, y, scales, _, g = set_up
    record = train(network, y[:300], y[300:], scales, Budget(None, 0.3, 16, 1e-3), g)
    assert 0.3 <= record.seconds < 5
    assert record.steps > 3


def test_an_interrupt_keeps_what_was_learnt(set_up):
    network, y, scales, budget, g = set_up

    def stop(share, loss):
        if share >= 0.6:
            raise KeyboardInterrupt

    record = train(network, y[:300], y[300:], scales, budget, g, stop)
    assert record.interrupted
    assert record.steps == 30
    assert record.kept_step == 30


def test_what_makes_it_worse_is_not_kept(set_up):
    """A learning rate that blows the weights up leaves the Gaussian it began with."""
    network, y, scales, _, g = set_up
    record = train(network, y[:300], y[300:], scales, Budget(30, None, 16, 1e6), g)
    assert record.kept_step == 0
    assert all(0.5 < loss < 1.5 for loss in record.loss)


def test_memorising_ends_early():
    """Few samples, many steps: the weights kept are not the last ones."""
    density = GaussianMixtureScore(torch.ones(1), torch.zeros(1, 6, dtype=D), torch.ones(1, 6, dtype=D))
    z = density.sample(140, torch.Generator().manual_seed(0))
    scales, g = Preconditioning.fitted(z[:40], 1e-3, 10.0), torch.Generator().manual_seed(0)
    y = scales.turned(z).float()
    network = denoiser_network((6,), 64, 2, g)
    record = train(network, y[:40], y[40:], scales.to(y), Budget(300, None, 40, 3e-3), g)
    assert record.kept_step < 300
    assert record.history[-1][2] > sum(record.loss) / len(record.loss)


def test_a_record_survives_json(set_up):
    import json
    from dataclasses import asdict

    network, y, scales, budget, g = set_up
    record = train(network, y[:300], y[300:], scales, budget, g)
    assert TrainingRecord.of(json.loads(json.dumps(asdict(record)))) == record
