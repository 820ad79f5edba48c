"""Whether the order holds elsewhere: in another network, on other images, with other seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from studies.prediction import analysis, truth
from studies.prediction.analysis import EARLY, Judged
from studies.prediction.designs import BLOCKS, Design
from studies.prediction.forecasts import BASELINES, SUMS
from studies.prediction.numbers import interval_text, name_text
from studies.prediction.statistics import Designs, interval
from studies.prediction.store import Store

_Truth = Mapping[int, float]
"""Log gFD by the number of steps."""

_FEWEST = 8
"""Designs that a table needs: with fewer, a rank correlation of .8 has an interval as wide as all that it could be."""


def sections(store: Store, network: str, judged: Sequence[Judged]) -> Iterator[tuple[str, Iterable[str]]]:
    """What is said beyond one network, one data set and one seed; `judged` are the designs of the main tables."""
    for other in truth.NETWORKS:
        if other != network:
            yield f"Another network: {other}", _network(store, other, judged)
    yield "Other images: patches of photographs", _images(store, network)
    yield "Seeds", _seeds(store, network)


def _network(store: Store, network: str, judged: Sequence[Judged]) -> Iterator[str]:
    others = analysis.of_one_budget(analysis.gathered(store, network))
    if len(others) < _FEWEST:
        yield f"{len(others)} designs were run: too few for a table."
        return
    last = analysis.common_steps(others)[-1]
    by_name = {each.design.name: each for each in judged}
    pairs = [(by_name[e.design.name], e) for e in others if last in by_name[e.design.name].log_gfd]
    first, second = (torch.tensor([each.log_gfd[last] for each in side], dtype=torch.float64) for side in zip(*pairs))
    link = interval(Designs([each.design.shape for each, _ in pairs]).spearman(first, second))
    yield (
        f"{len(others)} designs, a random part of all, with the same budget of {last:,} steps. The order of the two "
        f"networks agrees with Spearman {interval_text(link)}; no number of an autoencoder alone can do much better."
    )
    yield ""
    yield from _table(others)


def _images(store: Store, network: str) -> Iterator[str]:
    judged = analysis.of_one_budget(analysis.gathered(store, network, "photographs"))
    if len(judged) < _FEWEST:
        yield f"{len(judged)} of {len(BLOCKS['photographs'])} designs were run: too few for a table."
        return
    rfd = sorted(math.exp(each.log_rfd) for each in judged)
    yield (
        f"{len(judged)} designs on 32x32 colour patches of six photographs, with a network of the same kind. What is "
        "trained on and what judges are different rows of the same photographs, so that a part of every distance is "
        f"that between the two and no training can remove it. rFD from {rfd[0]:.1f} to {rfd[-1]:.1f}."
    )
    yield ""
    yield from _table(judged)
    yield ""
    last = analysis.common_steps(judged)[-1]
    yield f"| shape | treatment | gFD {last:,} | rFD |"
    yield "|---|---|---|---|"
    for each in sorted(judged, key=lambda own: own.log_gfd[last]):
        value = math.exp(each.log_gfd[last])
        yield (
            f"| {each.design.shape} | {each.design.treatment} | {value:.1f} ± {value * each.stderr[last]:.1f} "
            f"| {math.exp(each.log_rfd):.1f} |"
        )


def _table(judged: Sequence[Judged]) -> Iterator[str]:
    """The frozen sums, the baselines, and whatever else is among the first five."""
    steps = analysis.common_steps(judged)
    rows = analysis.rows(judged, steps[-1], steps, ())
    yield "| predictor | Spearman | within shape | regret | p |"
    yield "|---|---|---|---|---|"
    for row in rows:
        if row.name in SUMS or row.name in (EARLY, *BASELINES) or row in rows[:5]:
            cells = [*map(interval_text, (row.spearman, row.within)), f"{row.regret:.0%}", f"{row.p:.2g}"]
            yield f"| {name_text(row.name)} | " + " | ".join(cells) + " |"


def _seeds(store: Store, network: str) -> Iterator[str]:
    """What is due to seeds: of flow models in one autoencoder, and of autoencoders trained alike."""
    clothes = (*BLOCKS["crossed"], *BLOCKS["seeds"])
    yield (
        "Standard deviations of log gFD that are pooled over designs; errors of samples are in them. Beside them that "
        "of all designs: where the two are alike the order of the designs is one of luck, and nothing can forecast it."
    )
    yield ""
    yield (
        "| seed of | data | designs | trainings each | "
        + " | ".join(f"{s:,} steps" for s in truth.CHECKPOINTS[:3])
        + " |"
    )
    yield "|---" * 7 + "|"
    for what, data, designs, groups in (
        ("the flow model", "clothes", clothes, _by_flow(store, clothes, network)),
        ("the flow model", "photographs", BLOCKS["photographs"], _by_flow(store, BLOCKS["photographs"], network)),
        ("the autoencoder (and flow model)", "clothes", clothes, _by_autoencoder(store, clothes, network)),
    ):
        several = [runs for runs in groups if len(runs) > 1]
        if not several:
            yield f"| {what} | {data} | 0 | - | | | |"
            continue
        everything = [run for design in designs if (run := _log_gfd(store, design, network, 0))]
        cells = [_spread_text(several, everything, steps) for steps in truth.CHECKPOINTS[:3]]
        each = f"{sum(map(len, several)) / len(several):.1f}"
        yield f"| {what} | {data} | {len(several)} | {each} | {' | '.join(cells)} |"


def _spread_text(several: Sequence[Sequence[_Truth]], everything: Sequence[_Truth], steps: int) -> str:
    """The spread of seeds at a checkpoint, and that of all designs."""
    within = _pooled([[run[steps] for run in runs if steps in run] for runs in several])
    over = _pooled([[run[steps] for run in everything if steps in run]])
    return "" if math.isnan(within) else f"{within:.3f} of {over:.3f}"


def _by_flow(store: Store, designs: Sequence[Design], network: str) -> list[list[_Truth]]:
    """The trainings of flow models in one autoencoder, where there are two."""
    runs = [[_log_gfd(store, design, network, seed) for seed in (0, 1)] for design in designs]
    return [both for both in runs if all(both)]


def _by_autoencoder(store: Store, designs: Sequence[Design], network: str) -> list[list[_Truth]]:
    """The trainings in autoencoders that differ by their seed alone."""
    groups = defaultdict(list)
    for design in designs:
        if run := _log_gfd(store, design, network, 0):
            groups[design.shape, design.treatment].append(run)
    return [*groups.values()]


def _log_gfd(store: Store, design: Design, network: str, seed: int) -> _Truth:
    checkpoints = store.read(truth.KIND, truth.run_name(design, network, seed)).get("checkpoints", {})
    return {int(steps): entry["log_gfd"] for steps, entry in checkpoints.items()}


def _pooled(groups: Sequence[Sequence[float]]) -> float:
    """The standard deviation within groups: squares about their means over degrees of freedom; NaN without any."""
    squares = [sum((value - sum(group) / len(group)) ** 2 for value in group) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups if len(group) > 1)
    return math.sqrt(sum(squares) / freedom) if freedom else math.nan
