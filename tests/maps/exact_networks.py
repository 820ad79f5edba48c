"""Exact networks of centred Gaussian data under every convention: what they return, and what they are told."""

from __future__ import annotations

import torch

D = torch.float64
VARIANCES = torch.linspace(0.1, 2.0, 6, dtype=D)
ABAR = torch.linspace(0.9999, 0.98, 1000, dtype=D).cumprod(0)


def points(n=4, seed=0, size=6):
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed), dtype=D)


def answer(predicts, x, sigma, alpha):
    """What an exact network returns at `x`, by the meaning of its prediction alone."""
    x0 = x * VARIANCES / (VARIANCES + sigma**2)
    eps, s = (x - x0) / sigma, sigma * alpha
    return {
        "x0": x0,
        "eps": eps,
        "v": (eps - sigma * x0) / (1 + sigma**2) ** 0.5,
        "flow": eps - x0,
        "score": -eps / s,
    }[predicts]


def column(value):
    return torch.as_tensor(value, dtype=D).reshape(-1, 1)


def exploding(predicts, time):
    def net(x, told):
        sigma = column(told) if time == "sigma" else (4 * column(told)).exp()
        return answer(predicts, x, sigma, 1.0)

    return net


def preserving(predicts, time):
    def net(y, told):
        step = column(told) * (len(ABAR) if time == "u" else 1)
        if time == "index":
            assert not torch.as_tensor(told).is_floating_point()
        logs = ((1 - ABAR) / ABAR).log()
        below = step.floor().long().clamp(0, len(ABAR) - 2)
        t = (logs[below] + (step - below) * (logs[below + 1] - logs[below])).exp()
        alpha = (1 + t) ** -0.5
        return answer(predicts, y / alpha, t.sqrt(), alpha)

    return net


def flowing(predicts, time):
    def net(y, told):
        u = {"u": 1.0, "1-u": 1.0, "step": 1e-3}[time] * column(told)
        u = 1 - u if time == "1-u" else u
        m = answer(predicts, y / (1 - u), u / (1 - u), 1 - u)
        return -m if time == "1-u" and predicts == "flow" else m

    return net


CASES = [
    *((exploding, None, p, t) for p in ("x0", "eps", "v", "score") for t in ("sigma", "log_sigma")),
    *((preserving, ABAR, p, t) for p in ("x0", "eps", "v", "score") for t in ("index", "step", "u")),
    *((flowing, "flow", p, t) for p in ("flow", "x0", "eps") for t in ("u", "1-u", "step")),
]
