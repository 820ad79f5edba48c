"""AUROC, average precision and true-positive rate of scores with known laws; truths by quadrature over the law.

Truths come from a million quantiles of either law in place of samples: the error is below 1e-4, or 1e-3 of the
true-positive rate of scores with ties, whose few levels are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.laws import stream
from theodolite.detection import evaluate
from theodolite.detection.evaluation import paired_auroc
from theodolite.estimates import Estimate, Roc

ROOM = "detection"
MANY = 1_000_000
RESAMPLES = 200
_INSIDE = (
    "Student's quantile is that of the smaller label alone, a share inside [0, 1] has no tails, and rates of few "
    "samples come in steps"
)
RATES = ("auroc", "average_precision", "tpr")

COUNTS = ((3, 3), (8, 8), (12, 12), (40, 40), (100, 8), (500, 10))
"""Normal and unusual samples; the last are one unusual in fifty."""

LARGE = ((200, 200), (500, 500), (1000, 20))
"""Of the first law alone, and of the one with ties: they take long."""


@dataclass(frozen=True)
class Scores:
    """The law of a score: of normal samples, and of unusual ones, as functions of uniform numbers `(2, n)`."""

    normal: Callable[[Tensor], Tensor]
    unusual: Callable[[Tensor], Tensor]


def _quantile(u: Tensor) -> Tensor:
    return torch.special.ndtri(u)


def _student(u: Tensor) -> Tensor:
    """Student's law of two degrees of freedom has a closed quantile: tails heavier than those of three."""
    return (2 * u - 1) / (2 * u * (1 - u)).sqrt()


LAWS = {
    "normal scores, one deviation apart": Scores(lambda u: _quantile(u[0]), lambda u: _quantile(u[0]) + 1),
    "normal scores, three deviations apart": Scores(lambda u: _quantile(u[0]), lambda u: _quantile(u[0]) + 3),
    "normal scores, no difference": Scores(lambda u: _quantile(u[0]), lambda u: _quantile(u[0])),
    "log-normal scores, wider if unusual": Scores(
        lambda u: _quantile(u[0]).exp(), lambda u: (1.5 * _quantile(u[0]) + 0.7).exp()
    ),
    "heavy-tailed scores": Scores(lambda u: _student(u[0]), lambda u: _student(u[0]) + 1.5),
    "scores with ties": Scores(lambda u: _quantile(u[0]).round(), lambda u: (_quantile(u[0]) + 1.2).round()),
    "unusual samples of two modes": Scores(lambda u: _quantile(u[0]), lambda u: _quantile(u[0]) + 4.0 * (u[1] < 0.5)),
}
_ALSO_LARGE = ("normal scores, one deviation apart", "scores with ties")


def cells() -> Iterator[Cell]:
    """Laws of scores with few samples and many, of both labels and of one rare one; pairs; groups."""
    for law in LAWS:
        for normal, unusual in COUNTS + (LARGE if law in _ALSO_LARGE else ()):
            setting = f"{normal} normal, {unusual} unusual"
            yield Cell(ROOM, law, normal + unusual, setting, partial(_rates, law, normal, unusual), _INSIDE)
    for n in (3, 6, 12, 40, 150):
        yield Cell(ROOM, "pairs of one seed", 2 * n, "paired", partial(_paired, n), _INSIDE)
        yield Cell(ROOM, "groups of 1 to 8 samples", 2 * n, f"{n} groups a label", partial(_grouped, n), _INSIDE)


@lru_cache(maxsize=64)
def _truths(law: str, share: float) -> dict[str, float]:
    """Rates of the laws themselves, where `share` of the samples is unusual."""
    scores, uniform = LAWS[law], (torch.arange(MANY, dtype=torch.float64) + 0.5) / MANY
    both = torch.stack([uniform, uniform[torch.randperm(MANY, generator=stream(0))]])
    return _rates_of(scores.normal(both), scores.unusual(both), share)


def _rates_of(normal: Tensor, unusual: Tensor, share: float) -> dict[str, float]:
    weights = torch.zeros(2, 1, len(normal) + len(unusual), dtype=torch.float64)
    weights[0, :, : len(normal)], weights[1, :, len(normal) :] = 1 / len(normal), 1 / len(unusual)
    curve = Roc(torch.cat([normal, unusual]), weights[0], weights[1])
    rates = (curve.auroc(), curve.average_precision(share), curve.true_positive_rate())
    return {name: float(rate) for name, rate in zip(RATES, rates)}


def _rates(law: str, normal: int, unusual: int, seed: int) -> Answers:
    """One score of this law, and another one that is the first in noise, for paired differences."""
    draws, scores = stream(seed), LAWS[law]
    own = [torch.rand(2, n, generator=draws, dtype=torch.float64) for n in (normal, unusual)]
    first = torch.cat([scores.normal(own[0]), scores.unusual(own[1])])
    # a second score that takes no notice of labels: its AUROC is one half
    second = torch.randn(len(first), generator=draws, dtype=torch.float64)
    labels = [0] * normal + [1] * unusual
    table = evaluate({"score": first, "other": second}, labels, resamples=RESAMPLES, seed=seed)
    truths = _truths(law, unusual / (normal + unusual))
    answers = {rate: Answer(getattr(table, rate)[0], truth) for rate, truth in truths.items()}
    return answers | {"difference of auroc": Answer(table.difference("score", "other")[0], truths["auroc"] - 0.5)}


def _paired(n: int, seed: int) -> Answers:
    """Normal and unusual samples of one seed share half of their variance; the unusual ones are 1.5 higher."""
    draws = stream(seed)
    common, *own = torch.randn(3, n, generator=draws, dtype=torch.float64)
    normal, unusual = ((common + each) / math.sqrt(2) for each in own)
    auroc = 0.5 * math.erfc(-1.5 / 2)
    scores, labels = torch.cat([normal, unusual + 1.5]), [0] * n + [1] * n
    table = evaluate(scores, labels, pairs=[*range(n)] * 2, resamples=RESAMPLES, seed=seed)
    alone = paired_auroc(Estimate.exact(normal), Estimate.exact(unusual + 1.5), RESAMPLES)
    return {"auroc": Answer(table.auroc[0], auroc), "paired_auroc": Answer(alone, auroc)}


def _grouped(n: int, seed: int) -> Answers:
    """Samples of a group share half of their variance; unusual ones are 1.5 higher.

    Two samples of different groups are as good as independent, so that the AUROC is that of two normal laws.
    """
    draws, parts = stream(seed), []
    for _ in range(2):
        sizes = torch.tensor([1, 2, 4, 8])[torch.randint(4, (n,), generator=draws)]
        of = torch.repeat_interleave(torch.arange(n), sizes)
        common, own = (torch.randn(k, generator=draws, dtype=torch.float64) for k in (n, len(of)))
        parts.append(((common[of] + own) / math.sqrt(2), of))
    (normal, of_normal), (unusual, of_unusual) = parts
    labels, groups = [0] * len(normal) + [1] * len(unusual), torch.cat([of_normal, of_unusual + n]).tolist()
    scores = torch.cat([normal, unusual + 1.5])
    table = evaluate(scores, labels, groups=groups, resamples=RESAMPLES, seed=seed)
    truth = 0.5 * math.erfc(-1.5 / 2)
    return {"auroc": Answer(table.auroc[0], truth), "tpr": Answer(table.tpr[0], _tpr_of_shift(1.5))}


def _tpr_of_shift(shift: float) -> float:
    limit = float(torch.special.ndtri(torch.tensor(0.95, dtype=torch.float64)))
    return 0.5 * math.erfc((limit - shift) / math.sqrt(2))
