"""The eight claims about decoupling where they are true, where the opposite is, and where prompts differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from theodolite.detection import claims as judged_claims
from theodolite.detection.claim_columns import Columns, auroc_within
from theodolite.detection.claims import Claim, claims


def drawn(n: int, seed: int, link: float, shift: float = 0.0) -> dict[str, torch.Tensor]:
    """Quantities with a given link of LC and PHFE, LS tied to PHFE, and a shift of LC / PHFE."""
    a, b, c, d = torch.randn(4, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    phfe, lc = a.exp(), (link * a + (1 - link**2) ** 0.5 * b + shift).exp()
    even = {"q": d.exp(), "leading_share": 0.2 + 0.01 * d, "gap": c.exp(), "ls_max": (a / 2 + 0.02 * c).exp()}
    more = {"map_correlation": 0.3 * link + 0.01 * c, "mass_on_detail": 0.1 + 0.01 * d, "tortuosity": 1 + d.abs()}
    return {"lc": lc, "phfe": phfe, **even, **more, "jump": 1 + c.abs(), "recognised": (lc / phfe < 1).double()}


def columns(n: int, *, link: float, odd: float, shift: float) -> Columns:
    normal, unusual = drawn(n, 0, link), drawn(n, 1, odd, shift)
    unusual["tortuosity"] = normal["tortuosity"] + 0.5
    paths = torch.arange(n - n % 2).reshape(-1, 2)
    return Columns(normal, unusual, paths, 16, ("a/b",) * n)


@pytest.fixture(scope="module")
def judged() -> dict[str, Claim]:
    """Claims from pairs for which they hold."""
    return {claim.id: claim for claim in claims(columns(240, link=0.7, odd=0.0, shift=0.0))}


def test_claims_hold_where_they_are_true_and_fail_where_the_opposite_is(judged: dict[str, Claim]) -> None:
    true = {name: claim.verdict for name, claim in judged.items()}
    assert true["C1"] == "holds"
    assert true["C2"] == "holds"
    assert true["C4"] == "fails"
    assert true["C5"] == "holds"
    assert true["C6"] == "holds"
    assert true["C7"] == "undecided"
    assert true["C8"] == "holds"
    reverse = {claim.id: claim.verdict for claim in claims(columns(240, link=0.0, odd=0.7, shift=-2.0))}
    assert reverse["C1"] == "fails"
    assert reverse["C3"] == "fails"
    assert reverse["C5"] == "fails"


@pytest.mark.parametrize(("gap", "verdict"), [(0.0, "holds"), (0.7, "undecided"), (-0.5, "holds")])
def test_the_claim_of_a_student_compares_two_gaps(gap: float, verdict: str) -> None:
    """The model's link is 0.7 under normal and 0 under unusual conditions; the student's differ by `gap`."""
    both = columns(240, link=0.7, odd=0.0, shift=0.0)
    student = drawn(240, 0, 0.3 + gap / 2), drawn(240, 1, 0.3 - gap / 2)
    seventh = claims(replace(both, student=student))[6]
    assert (seventh.verdict, seventh.n) == (verdict, 240)
    own, theirs = (seventh.others[f"gap of the {name}"] for name in ("student", "model"))
    assert seventh.number is not None
    assert seventh.number.item() == pytest.approx(own.item() - theirs.item())
    pooled = seventh.others["four pools drawn apart, prompts ignored"]
    assert pooled.item() == pytest.approx(seventh.number.item())
    assert pooled.high - pooled.low > seventh.number.high - seventh.number.low  # what pairing by seeds saves
    grown = claims(replace(columns(240, link=0.3, odd=0.3, shift=0.0), student=(both.normal, both.unusual)))[6]
    assert grown.verdict == "fails"


def test_a_student_of_a_model_without_a_gap_decides_nothing() -> None:
    flat = columns(240, link=0.3, odd=0.3, shift=0.0)
    seventh = claims(replace(flat, student=(drawn(240, 0, -0.4), drawn(240, 1, 0.4))))[6]
    assert (seventh.verdict, seventh.why) == ("undecided", "the model itself has no gap that is told from 0")


def test_few_pairs_leave_the_first_claim_open() -> None:
    first = claims(columns(100, link=0.7, odd=0.0, shift=0.0))[0]
    assert first.verdict == "undecided"
    assert "fewer than 200" in first.why


def test_detection_is_told_apart_by_what_the_classifier_saw(judged: dict[str, Claim]) -> None:
    seen = columns(240, link=0.7, odd=0.0, shift=0.0).unusual["recognised"]
    failed = int((seen < 0.5).sum())
    outcomes = {name: number for name, number in judged["C3"].others.items() if " pairs " in name}
    assert len(outcomes) == 8
    high = outcomes[f"LC / PHFE, {failed} pairs failed"]
    low = outcomes[f"LC / PHFE, {240 - failed} pairs recognised"]
    assert low.high < 0.5 < high.low  # the classifier of `drawn` recognises what has a low score
    assert judged["C8"].prompts == 0
    assert set(judged["C8"].others) == {"LC", "LS", "−LS", "1 / PHFE", "LC / LS²", "LC / q"}
    assert f"{failed} of 240" in judged["C8"].why


def of_prompts(seed: int, prompts: int = 8, seeds: int = 8, **options: Any) -> Columns:
    """Nothing is linked or differs between conditions, but every prompt has effects and failures of its own."""
    generator, n = torch.Generator().manual_seed(seed), prompts * seeds

    def side() -> dict[str, torch.Tensor]:
        own = torch.randn(5, prompts, generator=generator, dtype=torch.float64).repeat_interleave(seeds, 1)
        a, b, c, d, e = own + torch.randn(5, n, generator=generator, dtype=torch.float64)
        lengths = {"lc": a.exp(), "phfe": b.exp(), "q": c.exp(), "gap": c.exp(), "ls_max": c.exp()}
        return {**lengths, "map_correlation": d, "mass_on_detail": d, "recognised": (e > 0).double()}

    names = tuple(str(place // seeds) for place in range(n))
    return Columns(side(), side(), torch.empty(0, 2, dtype=torch.int64), 16, names, **options)


def test_intervals_hold_what_differs_between_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged_claims, "RESAMPLES", 200)
    truths = {"_linked": 0.0, "_off_detail": 0.0, "_visible": 0.5}

    def covered(**options: Any) -> float:
        hits = []
        for seed in range(40):
            columns = of_prompts(seed, **options)
            numbers = {name: getattr(judged_claims, name)(columns, seed).number for name in truths}
            hits += [one.low <= truths[name] <= one.high for name, one in numbers.items() if one is not None]
        return sum(hits) / len(hits)

    assert 0.88 <= covered() <= 0.99
    assert covered(over_prompts=False) < 0.85  # seeds of the same prompts are no replication


def test_prompts_are_drawn_whole_where_there_are_five() -> None:
    few, many = of_prompts(0, prompts=4), of_prompts(0, prompts=5)
    assert few.units == tuple(range(32))
    assert "these prompts alone" in few.drawn
    assert many.units == many.pairs
    assert many.among(torch.arange(40) < 16).units == many.pairs[:16]  # two prompts of five are drawn whole too
    assert [judged_claims._off_detail(one, 0).prompts for one in (few, many)] == [0, 5]


def test_auroc_within_prompts_does_not_see_what_differs_between_them() -> None:
    failed = torch.tensor([1, 1, 1, 0, 1, 0, 0, 0] * 4).bool()
    prompts = [str(place // 4) for place in range(32)]
    between = torch.tensor([5.0, 5.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0] * 4)
    found = auroc_within(between, failed, prompts)
    assert found is not None
    assert (found[0].value, found[1]) == (0.5, 8)
    above = auroc_within(between + failed, failed, prompts)
    assert above is not None
    assert above[0].value == 1.0
    assert auroc_within(between[:12], failed[:12], prompts[:12]) is None
