"""The page of a decoupling experiment: claims, links, detection, quantities, hotspots and samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from theodolite.report import palette
from theodolite.report.drawing import figure_of, layout_of, plain_axis, short
from theodolite.report.page import (
    Block,
    Card,
    Cards,
    Cell,
    Column,
    Facts,
    Figure,
    Figures,
    Legend,
    Page,
    Section,
    Table,
    Term,
    interval_cell,
    number_cell,
)
from theodolite.report.pictures import data_uri
from theodolite.report.rounding import shown

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot

    from theodolite.experiments.decouple.pairs import Pairs
    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["page"]

_COLOURS = {"normal": palette.MODELS[0], "unusual": palette.MODELS[1]}
_LEGEND = Legend([(colour, "square", kind) for kind, colour in _COLOURS.items()])
_PAIRS = (("lc", "phfe"), ("ls_max", "phfe"), ("lc", "q"), ("ls_max", "q"))
_SHORT = {"lc": "LC", "phfe": "PHFE", "ls_max": "LS", "q": "q"}
_CARDS = 8
_VERDICTS = ("holds", "fails", "undecided")
_UNUSUAL = "what the prompt asks for, not what the sample shows: a model may compose what it never saw"
_HOTSPOT = "a cell that bends more than 95 % of all cells of normal samples; wasted where it adds no detail"


def page(run: Run) -> Page:
    """The report of a decoupling experiment; its tables are the terminal's too."""
    from theodolite.experiments.decouple.pairs import Pairs

    pairs, settings = Pairs(run), run.settings
    rows, verdicts = _derived(run, pairs)
    facts = {
        "Model": run.info["model"]["name"],
        "Pairs": f"{len(pairs.names)}, same noise",
        "Prompts": f"{len(run.info['prompts'])} normal, {len(run.info['prompts'])} unusual",
        "Sampler": f"{settings['method']}, {settings['steps']} steps, guidance {settings['guidance']:g}",
        "Derivatives": "forward differences" if settings["paper"] else "exact",
    }
    claimed = {(row["claim"], row.get("beside")): row for row in rows if row["quantity"] == "claim"}
    shares = [row for row in rows if row.get("part")]
    sections = [
        _claims(pairs, claimed, verdicts),
        _links(pairs),
        _detection(pairs),
        _quantities(pairs),
        *([_hotspots(pairs, shares)] if shares else []),
        Section("samples", "Samples", ["The same noise under both conditions."], [_LEGEND, Cards(_samples(pairs))]),
        *([_precision(run)] if settings["paper"] else []),
    ]
    conditions = dict(run.info["prompts"])
    method = [Facts("Conditions", conditions, "Normal, and the unusual one beside it.")]
    glossary = [
        *(
            Term(w["label"], w["meaning"], w["unit"], w["formula"], w["source"], name)
            for name, w in _words(run).items()
        ),
        Term("Hotspot", _HOTSPOT, source="named by Liang, Chen and Lai 2026; defined here"),
        Term("Unusual", _UNUSUAL),
    ]
    title = "Do scaling, rotation and detail come apart?"
    return Page(title, facts, _readings(claimed, verdicts), sections, method, glossary, (), _warnings(pairs))


def _derived(run: Run, pairs: Pairs) -> tuple[list[Row], list[dict[str, Any]]]:
    """Claims and shares: those that are stored, or of the finished pairs where the run is still going or was killed."""
    if run.info["status"] != "running" and (run.path / "claims.parquet").exists():
        return run.rows(unit=None), run.parquet("claims")
    derived = run.experiment.derive(run)
    return list(derived.rows), pairs.verdicts()


def _words(run: Run) -> dict[str, dict[str, str]]:
    words = {name: run.words(name) for name in run.quantities}
    return {name: entry for name, entry in words.items() if entry["meaning"] and name != "claim"}


def _warnings(pairs: Pairs) -> list[str]:
    """Samples that are left out; not where the self-check failed, since then all are."""
    if (pairs.run.info.get("self_check") or {}).get("first_order_holds") is False:
        return []
    lost = {kind: int(side["lc"].isnan().sum()) for kind, side in pairs.values.items()}
    return [
        f"{count} of {len(pairs.names)} {kind} samples have no leading direction, since their spectral gap closes; "
        "they are left out of what needs LC."
        for kind, count in lost.items()
        if count
    ]


def _readings(claimed: Mapping[Any, Row], verdicts: list[dict[str, Any]]) -> list[str]:
    """The result in sentences, and no more than it says."""
    counts = Counter(claim["verdict"] for claim in verdicts)
    ids = {word: ", ".join(claim["id"] for claim in verdicts if claim["verdict"] == word) for word in _VERDICTS}
    told = "; ".join(f"{word}: {own}" for word, own in ids.items() if own)
    hold, fail, open_ = (counts[word] for word in _VERDICTS)
    sentences = [f"Of eight claims, {hold} hold, {fail} fail and {open_} are undecided ({told})."]
    normal, unusual, auroc = (claimed.get(key) for key in (("C1", "normal"), ("C1", "unusual"), ("C3", None)))
    if normal and unusual and auroc and auroc["status"] == "ok":
        sentences.append(
            f"LC and PHFE correlate by {interval_cell(normal)} under normal and {interval_cell(unusual)} under unusual "
            f"conditions; LC / PHFE tells the two apart with AUROC {interval_cell(auroc)}, 0.5 being chance."
        )
    return sentences


def _claims(pairs: Pairs, claimed: Mapping[Any, Row], verdicts: list[dict[str, Any]]) -> Section:
    rows, beside = [], []
    for claim in verdicts:
        text = f"{claim['text'][0].upper()}{claim['text'][1:]}."
        cells = [Cell(text, claim["text"], below=claim["test"]), claim["n"], interval_cell(claimed[claim["id"], None])]
        rows.append([claim["id"], *cells, Cell(claim["verdict"], claim["verdict"], strong=True), claim["why"]])
        beside += [
            [Cell(name, name), claim["id"], interval_cell(row)]
            for (id, name), row in claimed.items()
            if id == claim["id"] and name is not None
        ]
    drawn = pairs.columns.drawn
    columns: list[str | Column] = [
        "claim",
        Column("says", "Claim and test", prose=True),
        "n",
        "number",
        "verdict",
        Column("why", prose=True, spare=True),
    ]
    title = f"{pairs.run.info['model']['name']}, {len(pairs.names)} pairs, {pairs.run.settings['steps']} steps"
    caption = (
        f"Number: what decides the claim, with its 95 % interval over {drawn}. The tests are in docs/decoupling.md."
    )
    about = (
        "The claims of the decoupling paper as tests that may fail. An interval that settles nothing leaves a claim "
        "undecided.",
        f"Intervals: 95 %, from 2,000 draws, over {drawn}. Both conditions of a seed stay together.",
    )
    more = Table("beside", "numbers beside the claims", ["name", "claim", "number"], beside, brief=False, folded=True)
    return Section("claims", "Claims", about, [Table("claims", title, columns, rows, caption), more])


def _links(pairs: Pairs) -> Section:
    def against(across: str, up: str) -> Figure:
        x, y = _SHORT[across], _SHORT[up]
        label = f"{x} against {y} of every sample under both conditions"
        return Figure(f"{across}-{up}", label, lambda: _scatter(pairs, across, up), f"{x} and {y}")

    text = (
        "Every pair is a point of each condition. PHFE contains LS² by construction; q is what is left of it without "
        "scale.",
    )
    return Section("links", "Links", text, [_LEGEND, Figures([against(*pair) for pair in _PAIRS])])


def _scatter(pairs: Pairs, across: str, up: str) -> Plot | None:
    """One quantity against another on logarithmic axes, every pair a point of each condition."""
    traces = []
    for kind, colour in _COLOURS.items():
        x, y = pairs.values[kind][across], pairs.values[kind][up]
        drawn = x.isfinite() & y.isfinite() & (x > 0) & (y > 0)
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": short(x[drawn].tolist()),
                "y": short(y[drawn].tolist()),
                "marker": {"size": 6, "color": palette.faded(colour, 0.7)},
                "hovertemplate": f"{kind}<br>{_SHORT[across]} %{{x:.4g}}, {_SHORT[up]} %{{y:.4g}}<extra></extra>",
            }
        )
    if not any(trace["x"] for trace in traces):
        return None
    axes = {
        name: {**plain_axis(), "type": "log", "nticks": 5, "title": {"text": _SHORT[quantity]}}
        for name, quantity in (("xaxis", across), ("yaxis", up))
    }
    return figure_of(traces, {**layout_of(), "margin": {"l": 60, "r": 10, "t": 8, "b": 46}, **axes})


def _detection(pairs: Pairs) -> Section:
    def draw() -> Plot | None:
        from theodolite.detection.claim_columns import LABELS, detection_table
        from theodolite.report.curves import Mark, points
        from theodolite.runs.experiment import number

        judged = detection_table(pairs.columns, pairs.run.settings["seed"])
        if judged is None:
            return None
        words = [LABELS[name] for name in judged[0].names]
        rows = [number("auroc", judged[0].auroc, place) for place in range(len(words))]
        marks = [Mark(label, palette.KINDS[kind], row) for (label, kind), row in zip(words, rows)]
        return points(marks, [], "AUROC", (-0.02, 1.02), 0.5)

    text = (
        "AUROC: the probability that a sample under an unusual condition scores higher than one under a normal "
        "condition. 0.5 is chance.",
        "LC / PHFE is worth its rotation only where it beats what has none.",
    )
    label = "AUROC of LC / PHFE and its baselines with 95 % intervals; the numbers are beside claim C3"
    return Section("detection", "Detection", text, [Figure("aurocs", label, draw, size=280, empty="Too few pairs.")])


def _quantities(pairs: Pairs) -> Section:
    from theodolite.descriptors.decoupling import MEANINGS

    names = [name for name in MEANINGS if name in pairs.values["normal"]]
    rows = [
        [
            Cell(MEANINGS[name].label, name, below=MEANINGS[name].formula),
            *(_mean(side[name]) for side in pairs.values.values()),
        ]
        for name in names
    ]
    text = (
        "Means over pairs with their standard errors over these prompts, inside the random subspace. Not to be "
        "compared across models or dimensions.",
        "Minus LS, leading share and effective rank are candidates for rigidity, which the paper does not define.",
    )
    table = Table("means", "means over pairs", ["quantity", *pairs.values], rows, brief=False)
    return Section("quantities", "Quantities", text, [table])


def _mean(values: Any) -> Cell:
    usable = values[values.isfinite()]
    if len(usable) < 2:
        return Cell("–")
    value, stderr = float(usable.mean()), float(usable.std()) / len(usable) ** 0.5
    return Cell(shown(value, stderr), {"value": value, "stderr": stderr, "n": len(usable), "status": "ok"})


def _hotspots(pairs: Pairs, rows: list[Row]) -> Section:
    from theodolite.experiments.hotspots.page import MARKS, difference, percent
    from theodolite.experiments.hotspots.shares import SHARES
    from theodolite.runs.run import estimate_of

    by = {(r["quantity"], r["condition"], r["part"], r.get("pair")): estimate_of([r]) for r in rows}
    kinds = list(dict.fromkeys(row["condition"] for row in rows))
    table: list[list[Cell]] = []
    for share in (share for share in SHARES if any((share.name, kind, "value", None) in by for kind in kinds)):
        cells: list[Cell] = [Cell(share.label, share.name, below=share.unit)]
        for kind in kinds:
            own = [by.get((share.name, kind, part, None)) for part in ("value", "null", "change")]
            cells += [Cell("") if part is None else percent(part) for part in own[:2]]
            if kind == "unusual":
                cells.append(Cell("") if own[2] is None or share.name == "overlap" else difference(own[2]))
        table.append(cells)
    columns = [Column("share")]
    for kind in kinds:
        columns += [Column(kind), Column(f"{kind}_by_chance", "by chance", spare=True)]
        columns += [Column("change", "less normal, 95 %")] if kind == "unusual" else []
    text = (
        "Cells of the sampler's output whose curvature (LC map) is above the 95th percentile of all cells under normal "
        "conditions; wasted where their detail (PHFE map) is at or below the median there too.",
        "By chance: if curvature and detail were independent within each sample; for the overlap, if masks were laid "
        f"at random. Intervals are over {pairs.columns.drawn}. Shown are the pairs with the most hotspots.",
    )
    hottest = list(dict.fromkeys(row["pair"] for row in rows if row.get("pair")))
    cards = [card for pair in hottest if (card := _hot_card(pairs, by, pair)).pictures]
    shares = Table("hotspots", "shares of hotspots", columns, table, "In percent.", brief=False)
    blocks: list[Block] = [shares]
    if cards:
        blocks += [Legend(MARKS), Cards(cards)]
    return Section("hotspots", "Hotspots", text, blocks)


def _hot_card(pairs: Pairs, by: Mapping[Any, Any], pair: str) -> Card:
    pictures, facts = [], []
    for kind, prompt in zip(_COLOURS, pairs.prompts[pair]):
        path = pairs.run.derived_picture(f"{pair}.{kind}.overlay")
        if path is not None:
            pictures.append((data_uri(path), f"hotspots under {prompt}"))
        hot, off = (100 * float(by[name, kind, "value", pair].value) for name in ("area", "wasted_area"))
        facts.append((f"{prompt}, {kind}", f"{hot:.0f} %, wasted {off:.0f} %"))
    return Card(pair, pictures, facts)


def _samples(pairs: Pairs) -> list[Card]:
    """The first pair of every two, under both conditions."""
    cards = []
    for pair in pairs.names[: 2 * _CARDS : 2]:
        place, pictures, facts = pairs.names.index(pair), [], []
        for kind, prompt in zip(_COLOURS, pairs.prompts[pair]):
            side = pairs.values[kind]
            if (path := pairs.run.picture(pair, kind)) is not None:
                pictures.append((data_uri(path), f"sample under {prompt}"))
            seen = "" if "recognised" not in side or side["recognised"][place] > 0.5 else ", not recognised"
            numbers = [(f"{_SHORT[name]}, {kind}", Cell(shown(float(side[name][place])))) for name in ("lc", "phfe")]
            facts += [(kind, f"{prompt}{seen}"), *numbers]
        cards.append(Card(pair, pictures, facts))
    return cards


def _precision(run: Run) -> Section:
    names = ("ls_max_over_exact", "lc_over_exact", "phfe_over_exact", "ones_cosine", "linearity")
    steps = sorted({row["step"] for row in run.rows(unit="precision")})
    rows = [
        [step, *(number_cell(next(iter(run.rows(n, unit="precision", step=step)), None)) for n in names)]
        for step in steps
    ]
    columns: list[str | Column] = ["step", *(Column(name, run.words(name)["label"], about=name) for name in names)]
    text = (
        "Quantities by forward differences over their exact values, at the first noise. Where they are far from 1, or "
        "move with the step, the recipe cannot be trusted here.",
    )
    caption = "LC has one neighbour here and several where it is exact, so the two differ beyond precision."
    table = Table("precision", "precision of differences", columns, rows, caption, brief=False)
    return Section("precision", "Precision", text, [table])
