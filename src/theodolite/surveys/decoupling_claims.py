"""The eight claims about decoupling, each with its test, its sample size, its number and what follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from theodolite.detection import DetectionTable, evaluate
from theodolite.detection.links import Number, PairedDraws, partial_spearman, spearman

__all__ = ["ENOUGH", "LABELS", "SETTLES", "Claim", "Columns", "claims", "detection_table"]

ENOUGH = 200
"""Pairs below which the first claim is not called to hold, whatever its interval."""

SETTLES = 30
"""Pairs, paths or samples below which nothing is settled: bootstrap intervals from fewer are too narrow."""

_FEWEST = 4
_RESAMPLES = 2000

LABELS = {
    "lc_over_phfe": ("LC / PHFE", "ratio"),
    "lc": ("LC", "descriptor"),
    "ls": ("LS", "descriptor"),
    "minus_ls": ("−LS", "ratio"),
    "one_over_phfe": ("1 / PHFE", "ratio"),
    "lc_over_ls2": ("LC / LS²", "ratio"),
    "lc_over_q": ("LC / q", "ratio"),
}
"""The scores of the third claim: what they are called and of which kind they are."""


@dataclass(frozen=True)
class Claim:
    """One claim and what came of it.

    Attributes:
        id: ``C1`` to ``C8``.
        text: the claim.
        test: what decides it.
        n: independent pairs, paths or samples behind the number.
        number: the deciding one with its 95 % interval; None where nothing could be computed.
        verdict: ``holds``, ``fails`` or ``undecided``.
        why: in words, where the verdict needs them.
        others: numbers beside it, by name.
    """

    id: str
    text: str
    test: str
    n: int
    number: Number | None
    verdict: str
    why: str = ""
    others: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True)
class Columns:
    """Quantities of the finished pairs.

    Attributes:
        normal: by name, `(n,)` each; so `unusual`. NaN where a value is no number.
        unusual: under the conditions that were held out.
        paths: `(paths, 2)` places of the pairs at both ends of an interpolation.
        dimension: `k` of the subspace.
        pairs: the prompts of each pair, to average within them.
    """

    normal: Mapping[str, Tensor]
    unusual: Mapping[str, Tensor]
    paths: Tensor
    dimension: int
    pairs: tuple[str, ...]

    def both(self, *names: str) -> tuple[Tensor, ...]:
        """These quantities under both conditions, at the pairs where all are numbers: normal first, then unusual."""
        columns = [side[name] for side in (self.normal, self.unusual) for name in names]
        kept = torch.stack([column.isfinite() for column in columns]).all(0)
        return tuple(column[kept] for column in columns)

    def among(self, rows: Tensor) -> Columns:
        """The pairs where `rows: (n,)` is true, without paths, which join two of them."""
        normal, unusual = ({name: one[rows] for name, one in side.items()} for side in (self.normal, self.unusual))
        pairs = tuple(pair for pair, kept in zip(self.pairs, rows.tolist()) if kept)
        return Columns(normal, unusual, self.paths[:0], self.dimension, pairs)


def claims(columns: Columns, seed: int = 0) -> list[Claim]:
    """C1 to C8 with the pass criteria of docs/decoupling.md; intervals from 2,000 draws of whole pairs."""
    judges = (_linked, _unchanged, _detects, _dominated, _off_detail, _tortuous, _distilled, _visible)
    return [judge(columns, seed) for judge in judges]


def detection_table(columns: Columns, seed: int = 0) -> tuple[DetectionTable, int] | None:
    """AUROC of the scores of `LABELS`, unusual against normal with the same seeds; and pairs. None below four."""
    lc, ls, phfe, q, *rest = columns.both("lc", "ls_max", "phfe", "q")
    if len(lc) < _FEWEST:
        return None
    lc, ls, phfe, q = (torch.cat([one, other]) for one, other in zip((lc, ls, phfe, q), rest))
    n = len(lc) // 2
    labels = torch.tensor([0] * n + [1] * n)
    scores = _scores(lc, ls, phfe, q)
    return evaluate(scores, labels, pairs=[*range(n), *range(n)], resamples=_RESAMPLES, seed=seed), n


def _scores(lc: Tensor, ls: Tensor, phfe: Tensor, q: Tensor) -> dict[str, Tensor]:
    return {
        "lc_over_phfe": lc / phfe,
        "lc": lc,
        "ls": ls,
        "minus_ls": -ls,
        "one_over_phfe": 1 / phfe,
        "lc_over_ls2": lc / ls.square(),
        "lc_over_q": lc / q,
    }


def _linked(columns: Columns, seed: int) -> Claim:
    text = "LC and PHFE are linked for normal conditions, and clearly less for unusual ones"
    test = f"Spearman(LC, PHFE) normal above 0, and normal less unusual above 0, n of {ENOUGH} or more"
    lc, phfe, gap, lc_odd, phfe_odd, gap_odd = columns.both("lc", "phfe", "gap")
    if len(lc) < _FEWEST:
        return _without("C1", text, test, len(lc))
    draws = PairedDraws(len(lc), _RESAMPLES, seed)
    link, odd = spearman(draws(lc), draws(phfe)), spearman(draws(lc_odd), draws(phfe_odd))
    normal, change = draws.number(link), draws.number(link - odd)
    fails = normal.high < 0 or change.high < 0
    others = {
        "normal": normal,
        "unusual": draws.number(odd),
        "normal, given the gap": draws.number(partial_spearman(draws(lc), draws(phfe), draws(gap))),
        "unusual, given the gap": draws.number(partial_spearman(draws(lc_odd), draws(phfe_odd), draws(gap_odd))),
        **_within(columns),
    }
    few = f"fewer than {ENOUGH} pairs" if len(lc) < ENOUGH else ""
    verdict = _verdict(len(lc), normal.low > 0 and change.low > 0 and not few, fails)
    return Claim("C1", text, test, len(lc), change, verdict, few if verdict == "undecided" else "", others)


def _within(columns: Columns) -> dict[str, Number]:
    """The mean of the links inside single prompts: pooling prompts may make or hide one."""
    found = {}
    for name, side in (("normal", columns.normal), ("unusual", columns.unusual)):
        groups = [[place for place, pair in enumerate(columns.pairs) if pair == one] for one in set(columns.pairs)]
        links = torch.stack([_link(side, group) for group in groups])
        links = links[~links.isnan()]
        if len(links) > 1:
            reach = 1.96 * float(links.std()) / len(links) ** 0.5
            mean = float(links.mean())
            found[f"{name}, mean within {len(links)} prompts"] = Number(mean, mean - reach, mean + reach)
    return found


def _link(side: Mapping[str, Tensor], group: list[int]) -> Tensor:
    lc, phfe = side["lc"][group], side["phfe"][group]
    kept = lc.isfinite() & phfe.isfinite()
    return spearman(lc[kept], phfe[kept]) if int(kept.sum()) >= _FEWEST else torch.tensor(math.nan).double()


def _unchanged(columns: Columns, seed: int) -> Claim:
    text = "LS and PHFE are strongly linked under both conditions, with little change"
    test = "Spearman(LS, PHFE) above 0.6 under both, their difference within ±0.1; beside it q in place of PHFE"
    ls, phfe, q, ls_odd, phfe_odd, q_odd = columns.both("ls_max", "phfe", "q")
    if len(ls) < _FEWEST:
        return _without("C2", text, test, len(ls))
    draws = PairedDraws(len(ls), _RESAMPLES, seed)
    link, odd = spearman(draws(ls), draws(phfe)), spearman(draws(ls_odd), draws(phfe_odd))
    normal, unusual, change = (draws.number(one) for one in (link, odd, link - odd))
    holds = min(normal.low, unusual.low) > 0.6 and change.low > -0.1 and change.high < 0.1
    fails = min(normal.high, unusual.high) < 0.6 or change.low > 0.1 or change.high < -0.1
    others = {
        "normal": normal,
        "unusual": unusual,
        "normal, q": draws.number(spearman(draws(ls), draws(q))),
        "unusual, q": draws.number(spearman(draws(ls_odd), draws(q_odd))),
    }
    return Claim("C2", text, test, len(ls), change, _verdict(len(ls), holds, fails), "", others)


def _detects(columns: Columns, seed: int) -> Claim:
    text = "LC / PHFE tells unusual from normal conditions better than LC, LS or simpler ratios"
    test = (
        "AUROC of LC / PHFE above 0.5 and above each of LC, LS, −LS, 1 / PHFE, LC / LS², LC / q, paired; beside it by "
        "whether the classifier recognised the unusual sample"
    )
    judged = detection_table(columns, seed)
    if judged is None:
        return _without("C3", text, test, 0)
    table, n = judged
    number = _auroc(table, "lc_over_phfe")
    gains = {name: _difference(table, name) for name in LABELS if name != "lc_over_phfe"}
    holds = number.low > 0.5 and all(gain.low > 0 for gain in gains.values())
    fails = number.high < 0.5 or any(gain.high < 0 for gain in gains.values())
    rivals = [LABELS[name][0] for name, gain in gains.items() if gain.high < 0]
    others = {LABELS[name][0]: _auroc(table, name) for name in gains}
    others |= {f"LC / PHFE less {LABELS[name][0]}": gain for name, gain in gains.items()}
    others |= _by_outcome(columns, seed)
    why = f"{', '.join(rivals)} did better" if rivals else ""
    return Claim("C3", text, test, n, number, _verdict(n, holds, fails), why, others)


def _by_outcome(columns: Columns, seed: int) -> dict[str, Number]:
    """AUROC where the classifier does not recognise the unusual sample, every score, and where it does."""
    if "recognised" not in columns.unusual:
        return {}
    seen = columns.unusual["recognised"]
    found: dict[str, Number] = {}
    for outcome, rows, names in (("failed", seen < 0.5, tuple(LABELS)), ("recognised", seen >= 0.5, ("lc_over_phfe",))):
        judged = detection_table(columns.among(rows), seed)
        if judged is not None:
            table, n = judged
            found |= {f"{LABELS[name][0]}, {n} pairs {outcome}": _auroc(table, name) for name in names}
    return found


def _auroc(table: DetectionTable, name: str) -> Number:
    return Number(float(table[name]["auroc"]), *table.interval(name))


def _difference(table: DetectionTable, name: str) -> Number:
    found = table.difference("lc_over_phfe", name)
    return Number(float(found.value), *(float(end) for end in found.interval()))


def _dominated(columns: Columns, seed: int) -> Claim:
    k = columns.dimension
    text = "one direction dominates the local variation"
    test = f"mean λ₁ share above ½; isotropic {1 / k:.3f}, noise of a shared centre {(k + 1) / (2 * k):.3f}"
    share, odd = columns.both("leading_share")
    if len(share) < _FEWEST:
        return _without("C4", text, test, len(share))
    draws = PairedDraws(len(share), _RESAMPLES, seed)
    number = draws.number(draws(share).mean(-1))
    return Claim(
        "C4", text, test, len(share), number, _verdict(len(share), number.low > 0.5, number.high < 0.5), "",
        {"unusual": draws.number(draws(odd).mean(-1))},
    )  # fmt: skip


def _off_detail(columns: Columns, seed: int) -> Claim:
    text = "under unusual conditions the places of high LC lie off the detail"
    test = (
        "rank correlation of the maps of LC and PHFE, unusual less normal, below 0; beside it LC mass on the top tenth"
    )
    link, mass, odd, mass_odd = columns.both("map_correlation", "mass_on_detail")
    if len(link) < _FEWEST:
        return _without("C5", text, test, len(link))
    draws = PairedDraws(len(link), _RESAMPLES, seed)
    number = draws.number(draws(odd - link).mean(-1))
    means = {"normal": link, "unusual": odd, "LC mass on detail, normal": mass, "LC mass on detail, unusual": mass_odd}
    others = {name: draws.number(draws(column).mean(-1)) for name, column in means.items()}
    return Claim("C5", text, test, len(link), number, _verdict(len(link), number.high < 0, number.low > 0), "", others)


def _tortuous(columns: Columns, seed: int) -> Claim:
    text = "interpolations are more tortuous under unusual conditions"
    test = "mean tortuosity, unusual less normal, above 0, over paths between two seeds"
    if len(columns.paths) < _FEWEST:
        return _without("C6", text, test, len(columns.paths))
    first, second = columns.paths.unbind(1)
    straight, jump, odd, jump_odd = (
        side[name][first] for side in (columns.normal, columns.unusual) for name in ("tortuosity", "jump")
    )
    complexity = (columns.normal["lc"][first] + columns.normal["lc"][second]) / 2
    draws = PairedDraws(len(first), _RESAMPLES, seed)
    number = draws.number(draws(odd - straight).mean(-1))
    means = {"normal": straight, "unusual": odd, "jump score, normal": jump, "jump score, unusual": jump_odd}
    others = {name: draws.number(draws(column).mean(-1)) for name, column in means.items()}
    kept = complexity.isfinite()
    if int(kept.sum()) >= _FEWEST:
        again = PairedDraws(int(kept.sum()), _RESAMPLES, seed)
        others["Spearman with mean LC of the ends, normal"] = again.number(
            spearman(again(complexity[kept]), again(straight[kept]))
        )
    return Claim(
        "C6", text, test, len(first), number, _verdict(len(first), number.low > 0, number.high < 0), "", others
    )


def _distilled(columns: Columns, seed: int) -> Claim:
    text = "a distilled model of few steps has a smaller gap between the conditions"
    return Claim("C7", text, "the first claim, model against student", 0, None, "undecided", "no distilled student")


def _visible(columns: Columns, seed: int) -> Claim:
    text = "the score is weak where an unusual condition yields a normal image"
    test = "within unusual conditions, AUROC of LC / PHFE for samples that the classifier does not recognise, above 0.5"
    if "recognised" not in columns.unusual:
        return Claim(
            "C8", text, test, 0, None, "undecided", "no classifier tells whether a sample is what was asked for"
        )
    found = torch.stack([columns.unusual[name] for name in ("recognised", "lc", "ls_max", "phfe", "q")])
    seen, *quantities = found[:, found.isfinite().all(0)]
    failed, n = seen < 0.5, len(seen)
    count = int(failed.sum())
    why = f"{count} of {n} samples not recognised"
    if min(count, n - count) < _FEWEST:
        return Claim("C8", text, test, n, None, "undecided", f"{why}: too few of one kind")
    table = evaluate(_scores(*quantities), failed, resamples=_RESAMPLES, seed=seed)
    number = _auroc(table, "lc_over_phfe")
    verdict = _verdict(min(count, n - count), number.low > 0.5, number.high < 0.5)
    others = {LABELS[name][0]: _auroc(table, name) for name in LABELS if name != "lc_over_phfe"}
    return Claim("C8", text, test, n, number, verdict, why, others)


def _verdict(n: int, holds: bool, fails: bool) -> str:
    return "undecided" if n < SETTLES else "fails" if fails else "holds" if holds else "undecided"


def _without(id: str, text: str, test: str, n: int) -> Claim:
    return Claim(id, text, test, n, None, "undecided", f"{n} of at least {_FEWEST} needed")
