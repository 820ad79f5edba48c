"""The eight claims about decoupling, each with its test, its sample size, its number and what follows."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from theodolite.detection.claim_columns import (
    FEWEST,
    LABELS,
    MANY,
    RESAMPLES,
    Columns,
    auroc_of,
    auroc_within,
    detection_table,
    difference_of,
    scores_of,
)
from theodolite.detection.evaluation import evaluate
from theodolite.estimates import Estimate, Resamples, rank_correlation

__all__ = ["ENOUGH", "SETTLES", "Claim", "claims"]

ENOUGH = 200
"""Pairs below which the first claim is not called to hold, whatever its interval."""

SETTLES = 30
"""Pairs, paths or samples below which nothing is settled: bootstrap intervals from fewer are too narrow."""


@dataclass(frozen=True)
class Claim:
    """One claim and what came of it.

    Attributes:
        id: ``C1`` to ``C8``.
        text: the claim.
        test: what decides it.
        n: pairs, paths or samples behind the number.
        number: the deciding one with its 95 % interval; None where nothing could be computed.
        verdict: ``holds``, ``fails`` or ``undecided``.
        why: in words, where the verdict needs them.
        others: numbers beside it, by name.
        prompts: prompt pairs that the interval is over; 0 where it is over pairs, for these prompts alone.
    """

    id: str
    text: str
    test: str
    n: int
    number: Estimate | None
    verdict: str
    why: str = ""
    others: Mapping[str, Estimate] = field(default_factory=dict)
    prompts: int = 0


def claims(columns: Columns, seed: int = 0) -> list[Claim]:
    """C1 to C8 with the pass criteria of docs/decoupling.md; intervals from 2,000 draws of whole `columns.units`."""
    judges = (_linked, _unchanged, _detects, _dominated, _off_detail, _tortuous, _distilled, _visible)
    return [judge(columns, seed) for judge in judges]


class _Draws(Resamples):
    """Draws of whole units."""

    def __init__(self, units: Sequence[Hashable], seed: int) -> None:
        super().__init__(list(units), RESAMPLES, seed)

    def link(self, x: Tensor, y: Tensor, *given: Tensor) -> Tensor:
        """The rank correlation of two quantities, given others, in every resample."""
        return rank_correlation(x, y, given, self.samples)

    def of_links(self, links: Tensor, terms: int = 1) -> Estimate:
        """A rank correlation, or a sum or difference of `terms` of them, with an interval of percentiles."""
        return self.percentiles(links, skewed=False, limits=(-terms, terms))

    def average(self, values: Tensor) -> Estimate:
        """The mean over pairs."""
        return self.percentiles(self.mean(values))


def _linked(columns: Columns, seed: int) -> Claim:
    text = "LC and PHFE are linked for normal conditions, and clearly less for unusual ones"
    test = f"Spearman(LC, PHFE) normal above 0, and normal less unusual above 0, n of {ENOUGH} or more"
    units, (lc, phfe, gap, lc_odd, phfe_odd, gap_odd) = columns.both("lc", "phfe", "gap")
    if len(set(units)) < FEWEST:
        return _without("C1", text, test, units)
    draws = _Draws(units, seed)
    link, odd = draws.link(lc, phfe), draws.link(lc_odd, phfe_odd)
    normal, change = draws.of_links(link), draws.of_links(link - odd, 2)
    fails = normal.high < 0 or change.high < 0
    others = {
        "normal": normal,
        "unusual": draws.of_links(odd),
        "normal, given the gap": draws.of_links(draws.link(lc, phfe, gap)),
        "unusual, given the gap": draws.of_links(draws.link(lc_odd, phfe_odd, gap_odd)),
        **_within(columns),
    }
    few = f"fewer than {ENOUGH} pairs" if len(lc) < ENOUGH else ""
    verdict = _verdict(units, normal.low > 0 and change.low > 0 and not few, fails)
    why = few if verdict == "undecided" else ""
    return Claim("C1", text, test, len(lc), change, verdict, why, others, _prompts(columns, units))


def _within(columns: Columns) -> dict[str, Estimate]:
    """The mean of the links inside single prompts: pooling prompts may make or hide one."""
    found = {}
    for name, side in (("normal", columns.normal), ("unusual", columns.unusual)):
        groups = [[index for index, pair in enumerate(columns.pairs) if pair == own] for own in set(columns.pairs)]
        links = torch.stack([_link(side, group) for group in groups])
        links = links[~links.isnan()]
        if len(links) >= FEWEST:
            found[f"{name}, mean within {len(links)} prompts"] = _Draws(range(len(links)), 0).average(links)
    return found


def _link(side: Mapping[str, Tensor], group: list[int]) -> Tensor:
    lc, phfe = side["lc"][group], side["phfe"][group]
    kept = lc.isfinite() & phfe.isfinite()
    return rank_correlation(lc[kept], phfe[kept]) if int(kept.sum()) >= FEWEST else torch.tensor(math.nan).double()


def _unchanged(columns: Columns, seed: int) -> Claim:
    text = "LS and PHFE are strongly linked under both conditions, with little change"
    test = "Spearman(LS, PHFE) above 0.6 under both, their difference within ±0.1; beside it q in place of PHFE"
    units, (ls, phfe, q, ls_odd, phfe_odd, q_odd) = columns.both("ls_max", "phfe", "q")
    if len(set(units)) < FEWEST:
        return _without("C2", text, test, units)
    draws = _Draws(units, seed)
    link, odd = draws.link(ls, phfe), draws.link(ls_odd, phfe_odd)
    normal, unusual, change = (draws.of_links(part) for part in (link, odd, link - odd))
    holds = min(normal.low, unusual.low) > 0.6 and change.low > -0.1 and change.high < 0.1
    fails = min(normal.high, unusual.high) < 0.6 or change.low > 0.1 or change.high < -0.1
    others = {
        "normal": normal,
        "unusual": unusual,
        "normal, q": draws.of_links(draws.link(ls, q)),
        "unusual, q": draws.of_links(draws.link(ls_odd, q_odd)),
    }
    verdict = _verdict(units, holds, fails)
    return Claim("C2", text, test, len(ls), change, verdict, "", others, _prompts(columns, units))


def _detects(columns: Columns, seed: int) -> Claim:
    text = "LC / PHFE tells unusual from normal conditions better than LC, LS or simpler ratios"
    test = (
        "AUROC of LC / PHFE above 0.5 and above each of LC, LS, −LS, 1 / PHFE, LC / LS², LC / q, paired; beside it by "
        "whether the classifier recognised the unusual sample"
    )
    judged = detection_table(columns, seed)
    units, _ = columns.both("lc", "ls_max", "phfe", "q")
    if judged is None:
        return _without("C3", text, test, units)
    table, n = judged
    number = auroc_of(table, "lc_over_phfe")
    gains = {name: difference_of(table, name) for name in LABELS if name != "lc_over_phfe"}
    holds = number.low > 0.5 and all(gain.low > 0 for gain in gains.values())
    fails = number.high < 0.5 or any(gain.high < 0 for gain in gains.values())
    rivals = [LABELS[name][0] for name, gain in gains.items() if gain.high < 0]
    others = {LABELS[name][0]: auroc_of(table, name) for name in gains}
    others |= {f"LC / PHFE less {LABELS[name][0]}": gain for name, gain in gains.items()}
    others |= _by_outcome(columns, seed)
    why = f"{', '.join(rivals)} did better" if rivals else ""
    verdict = _verdict(units, holds, fails)
    return Claim("C3", text, test, n, number, verdict, why, others, _prompts(columns, units))


def _by_outcome(columns: Columns, seed: int) -> dict[str, Estimate]:
    """AUROC where the classifier does not recognise the unusual sample, every score, and where it does."""
    if "recognised" not in columns.unusual:
        return {}
    seen = columns.unusual["recognised"]
    areas: dict[str, Estimate] = {}
    for outcome, rows, names in (("failed", seen < 0.5, tuple(LABELS)), ("recognised", seen >= 0.5, ("lc_over_phfe",))):
        judged = detection_table(columns.among(rows), seed)
        if judged is not None:
            table, n = judged
            areas |= {f"{LABELS[name][0]}, {n} pairs {outcome}": auroc_of(table, name) for name in names}
    return areas


def _dominated(columns: Columns, seed: int) -> Claim:
    k = columns.dimension
    text = "one direction dominates the local variation"
    test = f"mean λ₁ share above ½; isotropic {1 / k:.3f}, noise of a shared centre {(k + 1) / (2 * k):.3f}"
    units, (share, odd) = columns.both("leading_share")
    if len(set(units)) < FEWEST:
        return _without("C4", text, test, units)
    draws = _Draws(units, seed)
    number, others = draws.average(share), {"unusual": draws.average(odd)}
    verdict = _verdict(units, number.low > 0.5, number.high < 0.5)
    return Claim("C4", text, test, len(share), number, verdict, "", others, _prompts(columns, units))


def _off_detail(columns: Columns, seed: int) -> Claim:
    text = "under unusual conditions the places of high LC lie off the detail"
    test = (
        "rank correlation of the maps of LC and PHFE, unusual less normal, below 0; beside it LC mass on the top tenth"
    )
    units, (link, mass, odd, mass_odd) = columns.both("map_correlation", "mass_on_detail")
    if len(set(units)) < FEWEST:
        return _without("C5", text, test, units)
    draws = _Draws(units, seed)
    number = draws.average(odd - link)
    means = {"normal": link, "unusual": odd, "LC mass on detail, normal": mass, "LC mass on detail, unusual": mass_odd}
    others = {name: draws.average(column) for name, column in means.items()}
    verdict = _verdict(units, number.high < 0, number.low > 0)
    return Claim("C5", text, test, len(link), number, verdict, "", others, _prompts(columns, units))


def _tortuous(columns: Columns, seed: int) -> Claim:
    text = "interpolations are more tortuous under unusual conditions"
    test = "mean tortuosity, unusual less normal, above 0, over paths between two seeds"
    first, second = columns.paths.unbind(1)
    units = [columns.units[index] for index in first.tolist()]
    if len(set(units)) < FEWEST:
        return _without("C6", text, test, units)
    straight, jump, odd, jump_odd = (
        side[name][first] for side in (columns.normal, columns.unusual) for name in ("tortuosity", "jump")
    )
    complexity = (columns.normal["lc"][first] + columns.normal["lc"][second]) / 2
    draws = _Draws(units, seed)
    number = draws.average(odd - straight)
    means = {"normal": straight, "unusual": odd, "jump score, normal": jump, "jump score, unusual": jump_odd}
    others = {name: draws.average(column) for name, column in means.items()}
    here = [unit for unit, kept in zip(units, complexity.isfinite().tolist()) if kept]
    if len(set(here)) >= FEWEST:
        others["Spearman with mean LC of the ends, normal"] = draws.of_links(draws.link(complexity, straight))
    verdict = _verdict(units, number.low > 0, number.high < 0)
    return Claim("C6", text, test, len(first), number, verdict, "", others, _prompts(columns, units))


def _distilled(columns: Columns, seed: int) -> Claim:
    text = "a distilled model of few steps has a smaller gap between the conditions"
    test = (
        f"Spearman(LC, PHFE) normal less unusual: that of the model above 0, and the student's less it below 0, n of "
        f"{ENOUGH} or more; beside it with the four pools of samples drawn apart"
    )
    if columns.student is None:
        return Claim("C7", text, test, 0, None, "undecided", "no distilled student was measured")
    units, (lc, phfe, lc_odd, phfe_odd, *student) = columns.all_four("lc", "phfe")
    if len(set(units)) < FEWEST:
        return _without("C7", text, test, units)
    sides = ((lc, phfe), (lc_odd, phfe_odd), (student[0], student[1]), (student[2], student[3]))
    draws = _Draws(units, seed)
    links = [draws.link(*side) for side in sides]
    apart = [_Draws(range(len(lc)), seed + 1 + index).link(*side) for index, side in enumerate(sides)]
    own, smaller, change = links[0] - links[1], links[2] - links[3], _change(links)
    gap, number = draws.of_links(own, 2), draws.of_links(change, 4)
    others = {
        "gap of the model": gap,
        "gap of the student": draws.of_links(smaller, 2),
        "student, normal": draws.of_links(links[2]),
        "student, unusual": draws.of_links(links[3]),
        "four pools drawn apart, prompts ignored": _Draws(range(len(lc)), seed).of_links(_change(apart), 4),
    }
    holds = gap.low > 0 and number.high < 0 and len(lc) >= ENOUGH
    verdict = _verdict(units, holds, number.low > 0)
    why = "the model itself has no gap that is told from 0" if verdict == "undecided" and gap.low <= 0 else ""
    return Claim("C7", text, test, len(lc), number, verdict, why, others, _prompts(columns, units))


def _change(links: Sequence[Tensor]) -> Tensor:
    """The gap of the student less that of the model: of links normal and unusual, the model's first."""
    return (links[2] - links[3]) - (links[0] - links[1])


def _visible(columns: Columns, seed: int) -> Claim:
    text = "the score is weak where an unusual condition yields a normal image"
    test = "within unusual conditions, AUROC of LC / PHFE for samples that the classifier does not recognise, above 0.5"
    if "recognised" not in columns.unusual:
        return Claim(
            "C8", text, test, 0, None, "undecided", "no classifier tells whether a sample is what was asked for"
        )
    found = torch.stack([columns.unusual[name] for name in ("recognised", "lc", "ls_max", "phfe", "q")])
    kept = found.isfinite().all(0)
    (seen, *quantities), units = found[:, kept], columns.kept(kept)
    failed, n = seen < 0.5, len(seen)
    why = f"{int(failed.sum())} of {n} samples not recognised"
    sides = [[unit for unit, is_failed in zip(units, failed.tolist()) if is_failed is kind] for kind in (True, False)]
    if min(len(set(side)) for side in sides) < FEWEST:
        return Claim("C8", text, test, n, None, "undecided", f"{why}: too few of one kind")
    scores = scores_of(*quantities)
    table = evaluate(scores, failed, groups=units, resamples=RESAMPLES, seed=seed)
    number = auroc_of(table, "lc_over_phfe")
    others = {LABELS[name][0]: auroc_of(table, name) for name in LABELS if name != "lc_over_phfe"}
    others |= _within_prompts(scores, failed, columns.among(kept).pairs, seed)
    verdicts = {_verdict(side, number.low > 0.5, number.high < 0.5) for side in sides}
    verdict = "undecided" if len(verdicts) > 1 else verdicts.pop()
    return Claim("C8", text, test, n, number, verdict, why, others, _prompts(columns, units))


def _within_prompts(
    scores: Mapping[str, Tensor], failed: Tensor, prompts: Sequence[str], seed: int
) -> dict[str, Estimate]:
    """AUROC of every score among samples of the same prompts: does it tell which seeds fail, or which prompts?"""
    areas = {name: auroc_within(score, failed, prompts, seed) for name, score in scores.items()}
    return {f"{LABELS[name][0]}, within {one[1]} prompts that have both": one[0] for name, one in areas.items() if one}


def _prompts(columns: Columns, units: Sequence[Hashable]) -> int:
    return len(set(units)) if columns.over_prompts else 0


def _verdict(units: Sequence[Hashable], holds: bool | Tensor, fails: bool | Tensor) -> str:
    settled = len(units) >= SETTLES and len(set(units)) >= MANY
    return "undecided" if not settled else "fails" if fails else "holds" if holds else "undecided"


def _without(id: str, text: str, test: str, units: Sequence[Hashable]) -> Claim:
    few = f"{len(units)} pairs of {len(set(units))} independent ones: {FEWEST} of these are needed"
    return Claim(id, text, test, len(units), None, "undecided", few)
