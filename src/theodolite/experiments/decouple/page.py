"""The page of a decoupling experiment: claims, links, detection, quantities, hotspots and samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from theodolite.experiments.decouple import STUDENT
from theodolite.report import page as kit
from theodolite.report import palette
from theodolite.report.drawing import scattered
from theodolite.report.pictures import stored_pictures
from theodolite.report.rounding import shown
from theodolite.report.scored import Scored, aurocs_of
from theodolite.runs.rows import crossed, where

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.experiments.decouple.pairs import Pairs
    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["page"]

_COLOURS = {"normal": palette.MODELS[0], "unusual": palette.MODELS[1]}
_LEGEND = kit.Legend([(colour, "square", kind) for kind, colour in _COLOURS.items()])
_PAIRS = (("lc", "phfe"), ("ls_max", "phfe"), ("lc", "q"), ("ls_max", "q"))
_SHORT = {"lc": "LC", "phfe": "PHFE", "ls_max": "LS", "q": "q"}
_CARDS = 8
_TITLE = "Do scaling, rotation and detail come apart?"
_VERDICTS = ("holds", "fails", "undecided")
_UNUSUAL = "what the prompt asks for, not what the sample shows: a model may compose what it never saw"
_HOTSPOT = "a cell that bends more than 95 % of all cells of normal samples; wasted where it adds no detail"


def page(run: Run) -> kit.Page:
    """The report of a decoupling experiment; its tables are the terminal's too."""
    from theodolite.experiments.decouple.pairs import Pairs

    pairs, settings, prompts = Pairs(run), run.settings, run.info["prompts"]
    facts = {
        "Model": run.info["model"]["name"],
        "Pairs": f"{len(pairs.names)}, same noise",
        "Prompts": f"{len(prompts)} normal, {len(prompts)} unusual",
        "Sampler": f"{settings['method']}, {settings['steps']} steps, guidance {settings['guidance']:g}",
        **_student_of(run),
        "Derivatives": "forward differences" if settings["paper"] else "exact",
    }
    stored = run.info["status"] != "running" and (run.path / "claims.parquet").exists()
    verdicts = run.parquet("claims") if stored else pairs.verdicts()
    claimed = crossed(where(run.derived_rows, quantity="claim"), "claim", "beside")
    shares = [row for row in run.derived_rows if row["part"]]
    sections = [
        _claims(pairs, verdicts, claimed),
        _links(pairs),
        _detection(pairs),
        _means(pairs),
        *([_hotspots(pairs, shares)] if shares else []),
        kit.Section(
            "samples", "Samples", ["The same noise under both conditions."], [_LEGEND, kit.Cards(_samples(pairs))]
        ),
        *([_precision(run)] if settings["paper"] else []),
    ]
    method = [kit.Facts("Conditions", dict(prompts), "Normal, and the unusual one beside it.")]
    words = [own for name, own in run.experiment.quantities().items() if name in run.quantities and name != "claim"]
    glossary = [
        *kit.terms_of(own for own in words if own.meaning),
        kit.Term("Hotspot", _HOTSPOT, source="named by Liang, Chen and Lai 2026; defined here"),
        kit.Term("Unusual", _UNUSUAL),
    ]
    readings, warnings = _readings(verdicts, claimed), _warnings(pairs)
    return kit.Page(_TITLE, facts, readings, sections, method, glossary, warnings=warnings)


def _student_of(run: Run) -> dict[str, str]:
    steps = f"{run.settings.get('student_steps')} steps without guidance, same noise"
    return {"Student": f"{run.info['student']}, {steps}"} if "student" in run.info else {}


def _warnings(pairs: Pairs) -> list[str]:
    """Samples that are left out; not where the self-check failed, since then all are."""
    if (pairs.run.info.get("self_check") or {}).get("first_order_holds") is False:
        return []
    lost = {kind: int(side["lc"].isnan().sum()) for kind, side in pairs.values.items()}
    why = "samples have no leading direction, since their spectral gap closes; they are left out of what needs LC."
    return [f"{count} of {len(pairs.names)} {kind} {why}" for kind, count in lost.items() if count]


def _readings(verdicts: list[Row], claimed: Mapping[str, Mapping[str | None, Row]]) -> list[str]:
    """The result in sentences, and no more than it says."""
    ids = {verdict: [claim["id"] for claim in verdicts if claim["verdict"] == verdict] for verdict in _VERDICTS}
    listed = "; ".join(f"{verdict}: {', '.join(own)}" for verdict, own in ids.items() if own)
    hold, fail, open_ = (len(ids[verdict]) for verdict in _VERDICTS)
    sentences = [f"Of eight claims, {hold} hold, {fail} fail and {open_} are undecided ({listed})."]
    normal, unusual, auroc = *(claimed["C1"].get(side) for side in _COLOURS), claimed["C3"][None]
    if normal and unusual and auroc["status"] == "ok":
        sentences.append(
            f"LC and PHFE correlate by {kit.interval_cell(normal)} under normal and {kit.interval_cell(unusual)} under "
            f"unusual conditions; LC / PHFE tells the two apart with AUROC {kit.interval_cell(auroc)}, 0.5 being "
            "chance."
        )
    return sentences


def _claims(pairs: Pairs, verdicts: list[Row], claimed: Mapping[str, Mapping[str | None, Row]]) -> kit.Section:
    rows, beside = [], []
    for claim in verdicts:
        id, verdict, own = claim["id"], claim["verdict"], claimed[claim["id"]]
        text = kit.Cell(f"{claim['text'][0].upper()}{claim['text'][1:]}.", claim["text"], below=claim["test"])
        rows.append(
            [id, text, claim["n"], kit.interval_cell(own[None]), kit.Cell(verdict, verdict, strong=True), claim["why"]]
        )
        beside += [[kit.Cell(name, name), id, kit.interval_cell(row)] for name, row in own.items() if name is not None]
    drawn, run = pairs.columns.drawn, pairs.run
    says, why = kit.Column("says", "Claim and test", prose=True), kit.Column("why", prose=True, spare=True)
    title = f"{run.info['model']['name']}, {len(pairs.names)} pairs, {run.settings['steps']} steps"
    caption = (
        f"Number: what decides the claim, with its 95 % interval over {drawn}. The tests are in docs/decoupling.md."
    )
    about = (
        "The claims of the decoupling paper as tests that may fail. An interval that settles nothing leaves a claim "
        "undecided.",
        f"Intervals: 95 %, from 2,000 draws, over {drawn}. Both conditions of a seed stay together.",
    )
    table = kit.Table("claims", title, ["claim", says, "n", "number", "verdict", why], rows, caption)
    more = kit.Table(
        "beside", "numbers beside the claims", ["name", "claim", "number"], beside, brief=False, folded=True
    )
    return kit.Section("claims", "Claims", about, [table, more])


def _links(pairs: Pairs) -> kit.Section:
    def against(across: str, up: str) -> kit.Figure:
        x, y = _SHORT[across], _SHORT[up]
        points = {kind: (pairs.values[kind][across].tolist(), pairs.values[kind][up].tolist()) for kind in _COLOURS}
        label = f"{x} against {y} of every sample under both conditions"
        return kit.Figure(f"{across}-{up}", label, lambda: scattered(points, _COLOURS, x, y), f"{x} and {y}")

    about = "Every pair is a point of each condition. PHFE contains LS² by construction; q is PHFE without scale."
    return kit.Section("links", "Links", [about], [_LEGEND, kit.Figures([against(*pair) for pair in _PAIRS])])


def _detection(pairs: Pairs) -> kit.Section:
    from theodolite.detection.claim_columns import LABELS, detection_table

    judged, figures = detection_table(pairs.columns, pairs.run.settings["seed"]), []
    if judged is not None:
        table = judged[0]
        scored = [Scored(name, *LABELS[name]) for name in table.names]
        about = "AUROC of LC / PHFE and its baselines with 95 % intervals; the numbers are beside claim C3"
        figures = [aurocs_of(scored, about, lambda name: table.entries(name)["auroc"])]
    text = (
        "AUROC: the probability that a sample under an unusual condition scores higher than one under a normal "
        "condition. 0.5 is chance.",
        "LC / PHFE is worth its rotation only where it beats what has none.",
    )
    return kit.Section("detection", "Detection", text, figures or [kit.Text(["Too few pairs."])])


def _means(pairs: Pairs) -> kit.Section:
    from theodolite.descriptors.decoupling import MEANINGS

    measured = [quantity for quantity in MEANINGS.values() if quantity.name in pairs.values["normal"]]
    sides = {**pairs.values, **dict(zip((f"{STUDENT}{kind}" for kind in _COLOURS), pairs.student or ()))}
    means = (
        (q, (_mean(side[q.name]) if q.name in side else kit.cell(None) for side in sides.values())) for q in measured
    )
    rows = [[kit.Cell(q.label, q.name, below=q.formula), *own] for q, own in means]
    text = (
        "Means over pairs with errors by Student's law over these prompts, inside the random subspace. Not to be "
        "compared across models or dimensions.",
        "Minus LS, leading share and effective rank are candidates for rigidity, which the paper does not define.",
    )
    table = kit.Table("means", "means over pairs", ["quantity", *sides], rows, brief=False)
    return kit.Section("quantities", "Quantities", text, [table])


def _mean(values: Tensor) -> kit.Cell:
    from theodolite.estimates import Estimate, student_mean

    usable, n = values[values.isfinite()], int(values.isfinite().sum())
    return kit.number_cell(Estimate.of(*student_mean(usable), n=n) if n > 1 else None)


def _hotspots(pairs: Pairs, rows: list[Row]) -> kit.Section:
    from theodolite.experiments.hotspots.page import MARKS, shares_by_condition

    text = (
        "Cells of the sampler's output whose curvature (LC map) is above the 95th percentile of all cells under normal "
        "conditions; wasted where their detail (PHFE map) is at or below the median there too.",
        "By chance: if curvature and detail were independent within each sample; for the overlap, if masks were laid "
        f"at random. Intervals are over {pairs.columns.drawn}. Shown are the pairs with the most hotspots.",
    )
    hottest = dict.fromkeys(row["pair"] for row in rows if row["pair"])
    cards = [card for pair in hottest if (card := _hot_card(pairs, where(rows, pair=pair), pair)).pictures]
    blocks: list[kit.Block] = [kit.Legend(MARKS), kit.Cards(cards)] if cards else []
    return kit.Section("hotspots", "Hotspots", text, [shares_by_condition(where(rows, pair=None)), *blocks])


def _hot_card(pairs: Pairs, rows: list[Row], pair: str) -> kit.Card:
    prompts, facts = [*zip(_COLOURS, pairs.prompts[pair])], []
    names = [(pair, f"{kind}.overlay", f"hotspots under {prompt}") for kind, prompt in prompts]
    for kind, prompt in prompts:
        hot, off = (100 * where(rows, quantity=n, condition=kind)[0]["value"] for n in ("area", "wasted_area"))
        facts.append((f"{prompt}, {kind}", f"{hot:.0f} %, wasted {off:.0f} %"))
    return kit.Card(pair, stored_pictures(pairs.run, names), facts)


def _samples(pairs: Pairs) -> list[kit.Card]:
    """The first pair of every two, under both conditions."""
    cards = []
    for place in range(0, min(2 * _CARDS, len(pairs.names)), 2):
        pair, facts = pairs.names[place], []
        prompts = dict(zip(_COLOURS, pairs.prompts[pair]))
        for kind, prompt in prompts.items():
            side = pairs.values[kind]
            seen = "" if "recognised" not in side or side["recognised"][place] > 0.5 else ", not recognised"
            numbers = [
                (f"{_SHORT[name]}, {kind}", kit.Cell(shown(float(side[name][place])))) for name in ("lc", "phfe")
            ]
            facts += [(kind, f"{prompt}{seen}"), *numbers]
        names = [(pair, kind, f"sample under {prompt}") for kind, prompt in prompts.items()]
        cards.append(kit.Card(pair, stored_pictures(pairs.run, names), facts))
    return cards


def _precision(run: Run) -> kit.Section:
    names = ("ls_max_over_exact", "lc_over_exact", "phfe_over_exact", "ones_cosine", "linearity")
    steps = crossed(run.rows(unit="precision"), "step", "quantity")
    rows = kit.numbers_by((([step], own) for step, own in sorted(steps.items())), names)
    columns: list[str | kit.Column] = ["step", *kit.columns_of(run.experiment.quantities()[name] for name in names)]
    about = (
        "Quantities by forward differences over their exact values, at the first noise. Where they are far from 1, or "
        "move with the step, the recipe cannot be trusted here."
    )
    caption = "LC has one neighbour here and several where it is exact, so the two differ beyond precision."
    table = kit.Table("precision", "precision of differences", columns, rows, caption, brief=False)
    return kit.Section("precision", "Precision", [about], [table])
