"""What the outcomes say: every predictor beside the truth, at every budget, by the statistics of the protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from studies.prediction import truth
from studies.prediction.designs import BLOCKS, Design
from studies.prediction.forecasts import SIGNS, SUMS
from studies.prediction.measuring import KIND as PREDICTORS
from studies.prediction.statistics import Designs, Interval, familywise, interval, regret
from studies.prediction.store import Store
from theodolite.estimates import student_quantile
from theodolite.estimates.correlation import rank_correlation

Forecast = Callable[[Mapping[str, float]], float]

AREA = 0
"""The budget that stands for the area under log gFD over log steps."""

EARLY = "gFD at the first checkpoint"
_MOST = 0.75


@dataclass(frozen=True)
class Judged:
    """A design with its truth and its predictors.

    Attributes:
        design: whose they are.
        log_gfd: by checkpoint, means over trainings.
        stderr: of these by bootstrap over samples; seeds are in it where there are several.
        log_rfd: of its reconstructions, at the same number of samples.
        numbers: predictors by name.
    """

    design: Design
    log_gfd: Mapping[int, float]
    stderr: Mapping[int, float]
    log_rfd: float
    numbers: Mapping[str, float]

    def target(self, budget: int, steps: Sequence[int]) -> float:
        """The logarithm of gFD at a checkpoint, or its mean over log steps for `AREA`."""
        return self.log_gfd[budget] if budget != AREA else over_log_steps([self.log_gfd[s] for s in steps], steps)


def over_log_steps(values: Sequence[float], steps: Sequence[int]) -> float:
    """The area under values over log steps, divided by its width."""
    x = torch.tensor([math.log(s) for s in steps], dtype=torch.float64)
    return float(torch.trapezoid(torch.tensor(values, dtype=torch.float64), x) / (x[-1] - x[0]))


def gathered(store: Store, network: str, block: str = "crossed") -> list[Judged]:
    """The designs of a block with truth and predictors, in its order; further autoencoders are averaged in."""
    nested = BLOCKS["seeds"] if block == "crossed" else []
    judged = []
    for design in BLOCKS[block]:
        own = [design, *(d for d in nested if (d.shape, d.treatment) == (design.shape, design.treatment))]
        parts = [part for each in own if (part := _judged(each, store, network)) is not None]
        if parts and parts[0].design == design:
            judged.append(_averaged(parts))
    return judged


def of_one_budget(judged: Sequence[Judged]) -> list[Judged]:
    """The designs that reached the largest budget that most of them reached: three quarters, or else a smaller one.

    Designs run in a random order, so that those that are left out are missing at random.
    """
    reached = [max(each.log_gfd) for each in judged if each.log_gfd]
    enough = [step for step in reached if sum(other >= step for other in reached) >= _MOST * len(reached)]
    return [each for each in judged if max(each.log_gfd, default=0) >= max(enough, default=0)]


def common_steps(judged: Sequence[Judged]) -> list[int]:
    """The checkpoints that all designs have reached."""
    return sorted(set.intersection(*(set(each.log_gfd) for each in judged)))


def _judged(design: Design, store: Store, network: str) -> Judged | None:
    runs = [store.read(truth.KIND, truth.run_name(design, network, seed)) for seed in (0, 1)]
    runs, numbers = [run for run in runs if run], store.read(PREDICTORS, design.name).get("numbers", {})
    if not runs or not numbers:
        return None
    steps = [int(s) for s in runs[0]["checkpoints"] if all(s in run["checkpoints"] for run in runs)]
    entries = {s: [run["checkpoints"][str(s)] for run in runs] for s in steps}
    means = {s: sum(e["log_gfd"] for e in own) / len(own) for s, own in entries.items()}
    errors = {s: math.hypot(*(e["stderr"] for e in own)) / len(own) for s, own in entries.items()}
    return Judged(design, means, errors, runs[0]["log_rfd"]["value"], numbers)


def _averaged(parts: Sequence[Judged]) -> Judged:
    n, steps = len(parts), [s for s in parts[0].log_gfd if all(s in part.log_gfd for part in parts)]
    names = [name for name in parts[0].numbers if all(name in part.numbers for part in parts)]
    return Judged(
        parts[0].design,
        {s: sum(part.log_gfd[s] for part in parts) / n for s in steps},
        {s: math.hypot(*(part.stderr[s] for part in parts)) / n for s in steps},
        sum(part.log_rfd for part in parts) / n,
        {name: sum(part.numbers[name] for part in parts) / n for name in names},
    )


@dataclass(frozen=True)
class Row:
    """A predictor beside the truth at one budget, all with the expected sign: positive is as expected.

    Attributes:
        name: of the predictor.
        spearman: with log gFD over designs.
        kendall: likewise.
        within: Kendall over pairs of one shape.
        partial: Spearman given shape and rFD.
        regret: of the design that it puts first, a share of the best gFD.
        p: of the Spearman correlation, paying for all predictors that were tried.
        beyond: its Spearman less that of each baseline, by name.
    """

    name: str
    spearman: Interval
    kendall: Interval
    within: Interval
    partial: Interval
    regret: float
    p: float
    beyond: Mapping[str, Interval] = field(default_factory=dict)


def forecasts_of(judged: Sequence[Judged], budget: int, steps: Sequence[int]) -> dict[str, Tensor]:
    """Every predictor of these designs `(n,)` by name, with its expected sign, and the pilot's sums at the budget."""
    forecasts = {
        name: sign * torch.tensor([each.numbers[name] for each in judged], dtype=torch.float64)
        for name, sign in SIGNS.items()
        if all(name in each.numbers for each in judged)
    }
    for name, total in SUMS.items():
        values = [_pilot(total.at, each.numbers, budget, steps) for each in judged]
        forecasts[name] = torch.tensor(values, dtype=torch.float64)
    if budget != steps[0]:
        forecasts[EARLY] = torch.tensor([each.log_gfd[steps[0]] for each in judged], dtype=torch.float64)
    return forecasts


def _pilot(at: Callable[[int], Forecast], numbers: Mapping[str, float], budget: int, steps: Sequence[int]) -> float:
    if budget != AREA:
        return at(budget)(numbers)
    return over_log_steps([at(s)(numbers) for s in steps], steps)


def rows(judged: Sequence[Judged], budget: int, steps: Sequence[int], baselines: Sequence[str]) -> list[Row]:
    """All predictors at a budget, the best Spearman first."""
    y = torch.tensor([each.target(budget, steps) for each in judged], dtype=torch.float64)
    rfd = torch.tensor([each.log_rfd for each in judged], dtype=torch.float64)
    designs = Designs([each.design.shape for each in judged])
    forecasts = forecasts_of(judged, budget, steps)
    correlations = {name: designs.spearman(x, y) for name, x in forecasts.items()}
    p = dict(zip(forecasts, familywise(torch.stack([*forecasts.values()]), y).tolist()))
    made = [
        Row(
            name,
            interval(correlations[name]),
            interval(designs.kendall(x, y)),
            interval(designs.kendall(x, y, within=True)),
            interval(designs.partial(x, y, rfd)),
            regret(x, y),
            p[name],
            {
                other: interval(correlations[name] - correlations[other])
                for other in baselines
                if other in correlations and other != name
            },
        )
        for name, x in forecasts.items()
    ]
    return sorted(made, key=lambda row: -row.spearman.value)


def settled(judged: Sequence[Judged], steps: Sequence[int]) -> list[tuple[int, int, Interval]]:
    """The rank correlation of log gFD between each checkpoint and the next."""
    designs = Designs([each.design.shape for each in judged])
    columns = {s: torch.tensor([each.log_gfd[s] for each in judged], dtype=torch.float64) for s in steps}
    return [(a, b, interval(designs.spearman(columns[a], columns[b]))) for a, b in pairwise(steps)]


def fitted(judged: Sequence[Judged], budget: int) -> list[tuple[str, Interval, float]]:
    """Each sum with coefficients fitted to all shapes but one, forecasting that one: Spearman and regret over all."""
    y = torch.tensor([each.log_gfd[budget] for each in judged], dtype=torch.float64)
    designs = Designs([each.design.shape for each in judged])
    results = []
    for name, total in SUMS.items():
        X = torch.tensor([total.features(each.numbers) for each in judged], dtype=torch.float64)
        thrown = torch.tensor([each.numbers["rfd"] for each in judged], dtype=torch.float64)
        above = (y.exp() - thrown).clamp_min(0.1).log()
        forecast = torch.empty_like(y)
        for shape in {each.design.shape for each in judged}:
            out = torch.tensor([each.design.shape == shape for each in judged])
            weights = torch.linalg.lstsq(X[~out], above[~out, None], driver="gelsd").solution[:, 0]
            forecast[out] = (thrown[out] + (X[out] @ weights).exp()).log()
        results.append((name, interval(designs.spearman(forecast, y)), regret(forecast, y)))
    return results


def nested_selection(judged: Sequence[Judged], budget: int, steps: Sequence[int]) -> tuple[Interval, dict[str, str]]:
    """Kendall within the shapes, each forecast by the predictor that was best over the others; and which that was."""
    y = torch.tensor([each.log_gfd[budget] for each in judged], dtype=torch.float64)
    designs = Designs([each.design.shape for each in judged])
    forecasts, chosen = forecasts_of(judged, budget, steps), {}
    forecasts.pop(EARLY, None)  # it is a training of the same network, and no number of the autoencoder
    forecast = torch.empty_like(y)
    for shape in sorted({each.design.shape for each in judged}):
        out = torch.tensor([each.design.shape == shape for each in judged])
        links = {name: float(rank_correlation(x[~out], y[~out])) for name, x in forecasts.items()}
        best = max(links, key=lambda name: abs(links[name]) if links[name] == links[name] else -1.0)
        forecast[out] = math.copysign(1.0, links[best]) * forecasts[best][out]
        chosen[shape] = best
    return interval(designs.kendall(forecast, y, within=True)), chosen


@dataclass(frozen=True)
class Effect:
    """What a treatment does beside the plain autoencoder of the same shape, a mean over shapes.

    Attributes:
        treatment: which.
        shapes: how many have both.
        gfd: difference in log gFD.
        rfd: difference in log rFD.
    """

    treatment: str
    shapes: int
    gfd: Interval
    rfd: Interval


def effects(judged: Sequence[Judged], budget: int) -> list[Effect]:
    """The effect of every treatment, paired by shape, with Student's intervals over shapes."""
    by_cell = {(each.design.shape, each.design.treatment): each for each in judged}
    plain = {shape: each for (shape, treatment), each in by_cell.items() if treatment == "plain"}
    made = []
    for treatment in dict.fromkeys(each.design.treatment for each in judged if each.design.treatment != "plain"):
        pairs = [(by_cell[shape, treatment], own) for shape, own in plain.items() if (shape, treatment) in by_cell]
        if len(pairs) >= 3:
            gfd = [treated.log_gfd[budget] - own.log_gfd[budget] for treated, own in pairs]
            rfd = [treated.log_rfd - own.log_rfd for treated, own in pairs]
            made.append(Effect(treatment, len(pairs), _student(gfd), _student(rfd)))
    return made


def _student(values: Sequence[float]) -> Interval:
    x = torch.tensor(values, dtype=torch.float64)
    reach = student_quantile(len(x) - 1) * float(x.std()) / len(x) ** 0.5
    return Interval(float(x.mean()), float(x.mean()) - reach, float(x.mean()) + reach)
