"""The page of `detect --train`: the most suspicious images beside their nearest one, where, every score, all images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from theodolite.data.overlays import HOT
from theodolite.detection import of_level
from theodolite.detection.memorisation import memorisation_scores
from theodolite.detection.memorisation.judging import headline, most_suspicious, quantities
from theodolite.experiments.images import RunImage
from theodolite.experiments.judged import PLAIN, JudgedRun, p_cell
from theodolite.experiments.memorised.judgement import SHOWN, rate_of
from theodolite.report import page as kit
from theodolite.report import palette
from theodolite.report.pictures import largest_side, stored_pictures
from theodolite.runs.run import Run

__all__ = ["page"]


class _View(JudgedRun):
    """The finished images of a run and its stored numbers, by score and image."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.rate, self.scores = rate_of(run), self.scores_with("flagged")
        self.headline = headline(self.scores, run.settings["score"])
        self.near = {row["sample"]: row for row in run.parquet("neighbours")}
        self.limits = run.parquet("thresholds")

    def label(self, name: str) -> str:
        """What a score is called, with its level."""
        base, sigma = of_level(name)
        label = memorisation_scores()[base].quantity.label
        return label if sigma is None else f"{label}, σ = {sigma:g}"

    @cached_property
    def suspects(self) -> list[RunImage]:
        """The training images, the most suspicious first; those without a number last."""
        base, sigma = of_level(self.headline)
        if base == "nearest_training":
            values = {sample: row["distance"] for sample, row in self.near.items()}
        else:
            values = {row["sample"]: row["value"] for row in self.run.rows(base, sigma=sigma)}
        images = self.of_role("train")
        measured = [float(values.get(image.sample, math.nan)) for image in images]
        order = most_suspicious([self.p(self.headline, image) for image in images], measured)
        return [images[place] for place in order]


def page(run: Run) -> kit.Page:
    """The report; its tables are the terminal's too."""
    it = _View(run)
    levels, strata = run.info["sigmas"], set(run.info["strata"].values())
    facts = {
        "Model": run.info["model"]["name"],
        "Training images": len(it.of_role("train")),
        "Never-seen images": len(it.of_role("reference")),
        "Compared within": f"{len(strata)} {'strata' if run.settings['strata'] else 'classes'}",
        "Noise levels": ", ".join(f"{sigma:g}" for sigma in levels),
        "Size": f"{run.info['size']} pixels",
        "Budget": run.settings["budget"],
    }
    sections = [_suspicious(it), _scores(it), _limits(it), _images(it)]
    words = quantities()
    terms = kit.terms_of(words[of_level(name)[0]] for name in it.scores)
    title = f"Which images does {run.info['model']['name']} know by heart?"
    return kit.Page(title, facts, [*_readings(it)], sections, [], terms, (), [*_warnings(it)])


def _readings(it: _View) -> Iterator[str]:
    """The result in sentences, and no more than it says."""
    flagged, images = it.row("flagged", it.headline), it.of_role("train")
    count = 0 if flagged is None else int(flagged["value"])
    by_chance = it.rate * len(images)
    yield (
        f"By {it.label(it.headline)}, {count} of {len(images)} training images are flagged; of images that the model "
        f"never saw at most {100 * it.rate:g} % would be, here {by_chance:.3g}."
    )
    yield (
        "A flag says that the model treats the image unlike images of its kind that it never saw; whether it can be "
        "drawn out of the model is for samples to tell."
    )


def _warnings(it: _View) -> Iterator[str]:
    shy = [limit for limit in it.limits if limit["score"] == it.headline and limit["least_p"] > it.rate]
    if shy:
        names = ", ".join(str(limit["stratum"]) for limit in shy)
        need = math.ceil(1 / it.rate) - 1
        yield (
            f"Nothing can be flagged in {names}: too few never-seen photographs to promise {100 * it.rate:g} % false "
            f"alarms; {need} of each stratum are needed, or a lower --level."
        )
    if twice := it.repeated("reference", "train"):
        yield f"{len(twice)} never-seen images are byte for byte training images, e.g. {twice[0]}: they were seen."


def _suspicious(it: _View) -> kit.Section:
    suspects = it.suspects[:SHOWN]
    side = largest_side(3 * len(suspects))
    cards = [_card(it, image, side) for image in suspects]
    level = max(it.run.info["sigmas"])
    text = (
        f"The training images with the least p in {it.label(it.headline)}: as the model saw them, as it gave them back "
        f"from noise of σ = {level:g}, where it knows them, and the nearest other training image.",
        "Marked: cells that have contracted more than in all but a few never-seen images of the stratum.",
    )
    legend = kit.Legend([(HOT, "square", "known by heart")])
    return kit.Section("suspicious", "Most suspicious", text, [legend, kit.Cards(cards)])


def _card(it: _View, image: RunImage, side: int) -> kit.Card:
    near = it.near[image.sample]
    names = [
        (image.sample, "", f"{image.file}, as the model saw it"),
        (image.sample, "reconstruction", f"{image.file}, given back from noise"),
        (image.sample, "where", f"{image.file}, where it is known"),
        (near["nearest"], "", f"the nearest other training image, at a distance of {near['distance']:.3g}"),
    ]
    flags = [name for name in it.scores if it.p(name, image) <= it.rate]
    facts: list[tuple[str, Any]] = [
        ("p", p_cell(it.p(it.headline, image))),
        ("Stratum", it.run.info["strata"][image.sample]),
        ("Nearest", f"{near['distance']:.3g}"),
        ("Cells known", kit.number_cell(it.row("mask_share", None, image))),
    ]
    note = f"Flagged by {len(flags)} of {len(it.scores)} scores."
    colour = palette.MODELS[1] if it.headline in flags else PLAIN
    return kit.Card(image.file, stored_pictures(it.run, names, side), facts, colour, note)


def _scores(it: _View) -> kit.Section:
    known, rows = memorisation_scores(), []
    for name in it.scores:
        score = known[of_level(name)[0]]
        flagged = it.row("flagged", name)
        passes = it.run.rows(score.name)[:1] if score.name in it.run.quantities else []  # not of distances
        rows.append(
            [
                kit.Cell(it.label(name), name, below=score.quantity.formula),
                score.kind,
                kit.interval_cell(it.row("train_auroc", name)),
                "" if flagged is None else int(flagged["value"]),
                passes[0]["passes"] if passes else 0,
            ]
        )
    columns = [kit.Column("score"), kit.Column("kind"), kit.Column("train_auroc", "AUROC")]
    columns += [kit.Column("flagged"), kit.Column("passes")]
    caption = "With 95 % intervals. Passes: of the denoiser at one image and level, as if each were measured alone."
    text = (
        "AUROC: the probability that a training image scores higher than a never-seen one of its stratum. It is of all "
        "training images: where few are known by heart it stays near 0.5, and the flags are what to look at.",
        f"Looking for the best of {len(it.scores)} scores finds one by luck: choose before you look.",
    )
    title = f"{it.run.info['model']['name']}, training images against never-seen ones"
    return kit.Section("scores", "Scores", text, [kit.Table("scores", title, columns, rows, caption)])


def _limits(it: _View) -> kit.Section:
    rows = [
        [str(limit["stratum"]), kit.Cell(f"{limit['threshold']:.4g}", limit["threshold"]), p_cell(limit["least_p"])]
        for limit in it.limits
        if limit["score"] == it.headline
    ]
    columns = [kit.Column("stratum"), kit.Column("threshold"), kit.Column("least_p", "least p")]
    caption = (
        f"A training image above the threshold of its stratum is flagged; promised: {100 * it.rate:g} % false alarms."
    )
    text = "P-values are within strata alone: pooled ones do not keep their promise for an image of a plainer stratum."
    table = kit.Table("thresholds", f"Thresholds of {it.label(it.headline)}", columns, rows, caption)
    return kit.Section("thresholds", "Thresholds", [text], [table])


def _images(it: _View) -> kit.Section:
    others: Sequence[str] = [name for name in it.scores if name != it.headline]
    rows = []
    for image in it.suspects:
        near = it.near[image.sample]
        flag = "flagged" if it.p(it.headline, image) <= it.rate else ""
        values = [p_cell(it.p(name, image)) for name in others]
        distance = kit.Cell(f"{near['distance']:.3g}", near["distance"])
        rows.append(
            [image.file, p_cell(it.p(it.headline, image)), flag, it.run.info["strata"][image.sample], distance, *values]
        )
    columns = [kit.Column("file"), kit.Column("p_value", "p"), kit.Column("flagged"), kit.Column("stratum")]
    columns += [kit.Column("nearest", "nearest other")]
    columns += [kit.Column(name, f"p, {it.label(name)}", variant=True) for name in others]
    caption = f"p: conformal, by {it.label(it.headline)} within the stratum. Any score can be sorted by."
    table = kit.Table("images", "training images", columns, rows, caption, top=10, sortable=True)
    return kit.Section("images", "All training images", ["Every training image, the most suspicious first."], [table])
