"""The page of a detection: the most suspicious images, every score with its AUROC, distributions, all images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from theodolite.detection import at_level, of_level
from theodolite.detection.novelty import QUANTITIES
from theodolite.detection.scores import Score, score_of
from theodolite.experiments.images import RunImage
from theodolite.experiments.judged import PLAIN, JudgedRun, p_cell
from theodolite.report import page as kit
from theodolite.report import palette
from theodolite.report.pictures import largest_side, stored_pictures
from theodolite.report.scored import Scored, aurocs_of, aurocs_over_levels, in_words, kinds_of, score_table

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot

    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["page"]

_CARDS = 12
_SHY = 0.05
"""A least p-value above this is told: no image can then be called unusual at the usual level."""
_ROLES = ("reference", "test")
_LABELS = {None: "", 0: "normal", 1: "unusual"}


class _View(JudgedRun):
    """The finished images of a run and its stored numbers, by score and image."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.level = float(run.settings["level"])
        self.scores = [score_of(name) for name in self.scores_with("threshold")]
        self.scored = [_scored(score) for score in self.scores]
        names, chosen = [score.name for score in self.scores], str(run.settings["score"])
        self.headline = score_of(chosen if chosen in names else names[0])  # a score that was left out orders nothing
        known = run.info["labelled"] or {}
        self.labels = {image.sample: known[image.file] for image in self.of_role("test") if image.file in known}

    @property
    def is_drawn(self) -> bool:
        """Whether samples are latents."""
        return bool(self.run.info["data"].get("latents"))

    @property
    def noun(self) -> str:
        """What samples are."""
        return "latents" if self.is_drawn else "images"

    @property
    def has_rates(self) -> bool:
        """Whether there is an AUROC of every score."""
        return self.row("auroc", self.headline.name) is not None

    def value(self, score: Score, image: RunImage) -> float:
        """What an image scores; NaN where that is no number."""
        return float(self._by["score", score.name, image.sample]["value"])

    def limit(self, score: Score) -> float:
        """The threshold of a score."""
        return float(self._by["threshold", score.name, None]["value"])

    def above(self, score: Score) -> list[RunImage]:
        """The test images above the threshold."""
        return [image for image in self.of_role("test") if self.value(score, image) > self.limit(score)]

    @property
    def suspects(self) -> list[RunImage]:
        """The test images, the most suspicious first; those without a number last."""
        values = {image: self.value(self.headline, image) for image in self.of_role("test")}
        return sorted(values, key=lambda image: (math.isnan(values[image]), -values[image]))


def page(run: Run) -> kit.Page:
    """The report of a detection; its tables are the terminal's too."""
    it, denoiser = _View(run), run.info["denoiser"]
    levels = ", ".join(f"{sigma:g}" for sigma in denoiser["sigmas"]) if denoiser else ""
    facts = {
        "Model": run.info["model"]["name"],
        "Map": "" if denoiser else run.info["map"],
        **{role.capitalize(): _counted(it, role) for role in _ROLES},
        "Denoiser": f"{denoiser['output']}-map at σ = {levels}" if denoiser else "",
        "Size": f"{run.info['size']} pixels" if run.info["size"] else "",
        "Budget": run.settings["budget"],
    }
    sections = [_suspicious(it), *_levels(it), _scores(it), _distributions(it), _images(it)]
    terms = kit.terms_of(QUANTITIES.values())
    terms += [kit.Term(s.label, f"A score ({s.kind}).", "", s.formula, s.source, s.name) for s in it.scores]
    title, lead = f"Which {it.noun} are unlike the reference?", [_strip(it, it.headline, 190)]
    return kit.Page(title, facts, [*_readings(it)], sections, [], terms, lead, [*_warnings(it)])


def _counted(it: _View, role: str) -> str:
    of_sources = "" if it.is_drawn else f" of {_sources(it, role)} sources"
    return f"{len(it.of_role(role))} {it.noun}{of_sources}"


def _sources(it: _View, role: str) -> int:
    return len({image.source for image in it.of_role(role)})


def _warnings(it: _View) -> Iterator[str]:
    if twice := it.repeated("test", "reference"):
        what = ("image is", "a reference image") if len(twice) == 1 else ("images are", "reference images")
        yield f"{len(twice)} test {what[0]} byte for byte {what[1]}, e.g. {twice[0]}."
    if it.is_drawn:
        yield _of_drawn(it)
    if why := it.run.info["messages"].get("auroc"):
        yield f"No AUROC: {why}."


def _of_drawn(it: _View) -> str:
    """What it means that a latent is flagged."""
    specs = [str(it.run.settings[name]) for name in ("reference", "latents")]
    if all(spec.startswith("seed:") for spec in specs) and not it.labels:
        return (
            "Reference and test are draws of one law: a share of 1 − level is above a threshold by construction, and "
            "an AUROC away from 0.5 is chance. Only the order of samples says something; to test a score, give labels "
            "of what is wrong with them."
        )
    return (
        "A flagged latent is one where the map is unlike it is at the reference's latents: it says nothing of whether "
        "the output is wrong. Labels of what is wrong would test that."
    )


def _readings(it: _View) -> Iterator[str]:
    """The result in sentences, and no more than it says."""
    above, level = len(it.above(it.headline)), f"{100 * it.level:g} %"
    count = f"{above} of {len(it.suspects)} test {it.noun}"
    yield f"By {it.headline.label}, {count} lie above what {level} of the reference {it.noun} stay below."
    if rate := it.row("auroc", it.headline.name):
        what = "unusual against normal labels" if it.labels else f"test against reference {it.noun}"
        beyond = "higher than chance" if rate["low"] > 0.5 else "lower than chance"
        side = "chance, 0.5, is inside" if rate["low"] <= 0.5 <= rate["high"] else beyond
        yield f"AUROC of {what}: {in_words(rate)}; {side}."
    sources = _sources(it, "reference")
    if (least := 1 / (1 + sources)) > _SHY:
        yield f"The reference has {sources} sources: counted by source, no p-value can fall below {least:.2g}."


def _strip(it: _View, score: Score, height: int | str = "small") -> kit.Figure:
    def draw() -> Plot | None:
        from theodolite.report.drawing import strips

        groups = {role: [(image.file, it.value(score, image)) for image in it.of_role(role)] for role in _ROLES}
        return strips(groups, it.limit(score), large=is_headline)

    is_headline = score == it.headline
    text = f"{score.label} of every reference and test sample, with the threshold"
    caption = f"{score.formula}. Line: the threshold." if is_headline else ""
    return kit.Figure(f"strip-{score.name}", text, draw, score.label, caption=caption, size=height)


def _suspicious(it: _View) -> kit.Section:
    middle = "as the denoiser gave them back from noise of the middle level"
    back, label = middle if it.run.info["denoiser"] else "as they came back", it.headline.label
    shown = f"what the {it.run.info['map']} makes of them" if it.is_drawn else f"as the model saw them, and {back}"
    by_source = "" if it.is_drawn else ", with each photograph counted once"
    text = (
        f"The test {it.noun} that score highest in {label}: {shown}.",
        f"p is the share of reference {it.noun} that score as high{by_source}.",
    )
    flagged = {score.label: it.above(score) for score in it.scores}
    cards = [_card(it, image, [name for name in flagged if image in flagged[name]]) for image in it.suspects[:_CARDS]]
    return kit.Section("suspicious", "Most suspicious", text, [kit.Cards(cards)])


def _card(it: _View, image: RunImage, above: list[str]) -> kit.Card:
    label, side = it.headline.label, largest_side(_CARDS)
    facts: list[tuple[str, Any]] = [
        (label, kit.number_cell(it.row("score", it.headline.name, image))),
        ("p", p_cell(it.p(it.headline.name, image))),
        *([("Label", _LABELS[it.labels[image.sample]])] if image.sample in it.labels else []),
    ]
    first = "output" if it.is_drawn else "as the model saw it"
    texts = {"": f"{image.file}, {first}", "reconstruction": f"{image.file}, reconstructed"}
    pair = stored_pictures(it.run, [(image.sample, name, text) for name, text in texts.items()], side)
    note = f"Above {len(above)} of {len(it.scores)} thresholds{': ' + '; '.join(above) if above else ''}."
    return kit.Card(image.file, pair, facts, palette.MODELS[1] if label in above else PLAIN, note)


def _levels(it: _View) -> list[kit.Section]:
    """AUROC over noise levels, a line a score; dotted where the score has no level."""
    denoiser = it.run.info["denoiser"]
    if not denoiser or not it.has_rates:
        return []
    scores = [score_of(name) for name in dict.fromkeys(of_level(score.name)[0] for score in it.scores)]

    def rate(name: str, sigma: float | None) -> Row | None:
        return it.row("auroc", name if sigma is None else at_level(name, sigma))

    text = (
        "AUROC of the map of the denoiser at every level. One level can show anything: a score may turn round between "
        "little noise and much, and between the eps- and the x0-map.",
        "Dotted: a score without a level, and chance.",
    )
    blocks = aurocs_over_levels([_scored(score) for score in scores], denoiser["sigmas"], rate)
    return [kit.Section("levels", "Noise levels", text, blocks)]


def _scored(score: Score) -> Scored:
    return Scored(score.name, score.label, score.kind, score.formula)


def _scores(it: _View) -> kit.Section:
    blocks: list[kit.Block] = []
    if it.has_rates:
        about = "AUROC of every score with its 95 % interval"
        blocks = [kinds_of(it.scored), aurocs_of(it.scored, about, partial(it.row, "auroc"))]
    labelled, roles = ("a sample labelled unusual", "one labelled normal"), ("a test sample", "a reference sample")
    positive, normal = labelled if it.labels else roles
    text = (
        f"AUROC: the probability that {positive} scores higher than {normal}. 0.5 is chance; below, the score is lower "
        "there. Intervals: 95 %, over sources.",
        f"A score is worth its Jacobians only where it beats the baselines. Looking for the best of {len(it.scores)} "
        "finds one by luck: choose before you look.",
    )
    return kit.Section("scores", "Scores", text, [*blocks, _score_table(it)])


def _score_table(it: _View) -> kit.Table:
    known, tests = len(it.of_role("reference")), len(it.of_role("test"))
    above = {score.name: len(it.above(score)) for score in it.scores}
    own = {("above", name): kit.Cell(f"{count} of {tests}", count) for name, count in above.items()}
    columns: dict[kit.Column, Callable[..., kit.Cell]] = {
        kit.Column("auroc", "AUROC"): kit.interval_cell,
        kit.Column("average_precision", spare=True): kit.interval_cell,
        kit.Column("tpr", "found at 5 % false alarms", spare=True): kit.interval_cell,
        **dict.fromkeys((kit.Column("threshold"), kit.Column("quantile", spare=True)), kit.number_cell),
        kit.Column("above"): kit.cell,
    }
    title = f"{it.run.info['model']['name']}, {known} reference and {tests} test {it.noun}"
    caption = (
        f"With 95 % intervals over sources. Threshold: what {100 * it.level:g} % of the reference {it.noun} stay "
        f"below, and as a quantile of all such {it.noun}; above: test {it.noun} that do not."
    )
    return score_table(title, it.scored, it.row, columns, caption, own)


def _distributions(it: _View) -> kit.Section:
    text = f"Every sample a point, reference below, test {it.noun} above; orange above the threshold, the line."
    figures = [_strip(it, score) for score in it.scores if score != it.headline]
    return kit.Section("distributions", "Distributions", [text], [kit.Figures(figures, small=True)] if figures else [])


def _images(it: _View) -> kit.Section:
    others, above = [score for score in it.scores if score != it.headline], it.above(it.headline)
    rows = []
    for image in it.suspects:
        values = [kit.number_cell(it.row("score", score.name, image)) for score in (it.headline, *others)]
        label = [_LABELS[it.labels.get(image.sample)]] if it.labels else []
        flag, source = "above" if image in above else "", image.source
        rows.append([image.file, values[0], p_cell(it.p(it.headline.name, image)), flag, *label, source, *values[1:]])
    first = it.headline.label
    columns = [kit.Column("file"), kit.Column(it.headline.name, first), kit.Column("p_value", "p")]
    columns += [kit.Column("flagged", "threshold")]
    columns += [*([kit.Column("label")] if it.labels else []), kit.Column("source", spare=True)]
    columns += [kit.Column(score.name, score.label, variant=True) for score in others]
    promise = f"p: conformal, by {first} among the reference {it.noun}, every photograph counted once."
    title = f"test {it.noun}"
    table = kit.Table("images", title, columns, rows, f"{promise} Any score can be sorted by.", top=10, sortable=True)
    every = f"Every one of the {title}, the most suspicious first."
    return kit.Section("images", f"All {it.noun}", [every], [table])
