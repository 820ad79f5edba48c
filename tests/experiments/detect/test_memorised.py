"""`theodolite detect --train`: training images judged by never-seen ones of their class, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import theodolite
from theodolite.detection.memorisation import memorisation_scores
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.experiments.detect.experiment import Detect
from theodolite.experiments.memorised.judgement import judgement_of
from theodolite.runs.experiment import Sitting
from theodolite.runs.measuring import opened, prepared
from theodolite.zoo.fashion import fashion_images

LABELS, SCORES = (0, 9), "flipd,denoising_loss,nearest_training"
FAST = {"sigma": [0.1, 0.4], "scores": SCORES.split(","), "budget": "quick", "level": 0.8}


def written(folder, chosen):
    known = fashion_images()
    for place in chosen:
        path = folder / str(int(known.labels[place])) / f"{int(known.copies[place])}x-{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(((known.images[place, 0] + 1) * 127.5).round().byte().numpy()).save(path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Of two classes six never-seen images each, and two that were seen once, two seen a hundred times."""
    root, known = tmp_path_factory.mktemp("fashion"), fashion_images()
    for label in LABELS:
        for copies, count, role in ((0, 6, "unseen"), (1, 2, "seen"), (100, 2, "seen")):
            own = ((known.labels == label) & (known.copies == copies)).nonzero()[:count, 0]
            written(root / role, own.tolist())
    return root / "unseen", root / "seen"


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "known"
    return theodolite.detect("zoo:fashion-duplicated", folders[0], None, out, train=folders[1], **FAST)


def test_the_folder_is_read_as_what_its_settings_chose(run):
    assert theodolite.read_run(run.path).experiment.__name__ == "Memorised"


def p_values(run, score="flipd@0.1"):
    rows = [row for row in run.derived_rows if row["quantity"] == "p_value" and row["score"] == score]
    return {row["sample"]: row["value"] for row in rows}


def test_what_was_seen_a_hundred_times_is_flagged_in_its_class(run):
    found = p_values(run)
    often = [p for sample, p in found.items() if "100x" in sample]
    assert len(often) == 4
    assert often == pytest.approx([1 / 7] * 4), "six never-seen images of the class: no p-value is smaller"
    flagged = [row for row in run.derived_rows if row["quantity"] == "flagged" and row["score"] == "flipd@0.1"]
    assert flagged[0]["value"] >= 4


def test_thresholds_are_of_each_class(run):
    limits = [row for row in run.parquet("thresholds") if row["score"] == "flipd@0.1"]
    assert sorted(row["stratum"] for row in limits) == ["0", "9"]
    assert {row["least_p"] for row in limits} == {1 / 7}


def test_the_share_of_never_seen_images_that_judge_each_other_is_not_sold_as_a_measurement(run):
    assert "false_alarms" not in {row["quantity"] for row in run.derived_rows}
    assert "each judged by the others" not in " ".join(run.experiment.page(run).readings)


def test_a_p_value_has_the_errors_of_its_score(run):
    rows = {row["score"]: row for row in run.derived_rows if row["quantity"] == "p_value" and "100x" in row["sample"]}
    noisy, exact = rows["denoising_loss@0.1"], rows["nearest_training"]
    assert noisy["high"] > noisy["value"] >= noisy["low"]
    assert exact["low"] == exact["value"] == exact["high"]


def test_a_score_that_is_no_number_in_a_stratum_is_left_out_alone(run):
    judgement = judgement_of(run)
    unseen = ~judgement.seen & torch.tensor([stratum == "9" for stratum in judgement.strata])
    broken = judgement.scores["flipd@0.1"].value.masked_fill(unseen, torch.nan)
    scores = {"flipd@0.1": Estimate.of(broken), "flipd@0.4": judgement.scores["flipd@0.4"]}
    derived = replace(judgement, scores=scores).derived()
    assert {row["score"] for row in derived.rows if row["quantity"] == "p_value"} == {"flipd@0.4"}
    (entry,) = derived.left_out
    assert entry["what"] == "flipd@0.1"
    assert "in stratum '9', got 0" in entry["reason"]


def test_photographs_are_told_apart_by_folder_unless_a_pattern_says_what_belongs_together(run):
    judgement = judgement_of(run)
    assert all(group.startswith(("reference/", "train/")) for group in judgement.groups)
    told = replace(judgement, run=SimpleNamespace(settings={"group": "x"}))
    assert told.groups == [image.source for image in told.images]


def test_a_class_with_nothing_to_compare_with_is_refused_before_anything_is_measured(folders, tmp_path):
    lonely = tmp_path / "unseen"
    written(lonely, (fashion_images().labels == 0).nonzero()[-4:, 0].tolist())
    written(lonely, (fashion_images().labels == 9).nonzero()[-1:, 0].tolist())
    with pytest.raises(InputError, match="never-seen photographs expected in stratum '9', got 1"):
        theodolite.detect("zoo:fashion-duplicated", lonely, None, tmp_path / "run", train=folders[1], **FAST)
    assert not (tmp_path / "run").exists()


def test_the_nearest_training_image_is_another_one(run):
    near = {row["sample"]: row for row in run.parquet("neighbours")}
    assert all(row["nearest"] != sample and row["nearest"].startswith("train-") for sample, row in near.items())
    points = {sample: run.arrays(sample)["image"] for sample in near}
    sample, row = next(iter(near.items()))
    assert row["distance"] == pytest.approx(float((points[sample] - points[row["nearest"]]).norm()), rel=1e-5)


def test_the_page_shows_suspects_beside_their_neighbours(run):
    page = run.experiment.page(run)
    assert "know by heart" in page.title
    assert " training images are flagged" in page.readings[0]
    card = page.sections[0].blocks[1].cards[0]
    assert card.title.startswith(("0/100x", "9/100x"))
    assert len(card.pictures) == 4, "itself, given back, where, and its neighbour"
    tables = {table.name: table for table in page.tables}
    assert len(tables["images"].rows) == 8
    assert len(tables["scores"].rows) == 5


def test_strata_may_be_chosen_anew_without_measuring_again(run, folders):
    before = run.info["sittings"][-1]["units"]
    again = theodolite.detect(
        "zoo:fashion-duplicated", folders[0], None, run.path, train=folders[1], **{**FAST, "strata": r"^()"}
    )
    assert {row["stratum"] for row in again.parquet("thresholds")} == {""}
    assert min(p_values(again).values()) == pytest.approx(1 / 13)
    assert before
    assert not again.info["sittings"][-1]["units"]


def test_the_cost_is_told_before(invoke, folders):
    given = ("--reference", folders[0], "--train", folders[1], "--dry-run", "--json", "--scores", SCORES)
    told = json.loads(invoke("detect", "zoo:fashion-duplicated", *given).output)
    assert told["passes"] == {"flipd": 26, "denoising_loss": 4}
    assert told["images"] == 20


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"steps": 3}, "says nothing of training images"),
        ({"scores": ["pixel_energy"]}, "a score of memorisation"),
        ({"scores": ["nearest_training"]}, "a score of the model"),
        ({"test": "elsewhere"}, "got test and train"),
        ({"train": None, "test": "elsewhere", "strata": "x"}, "belongs to training images"),
        ({"sigma": [0.1, 1e3]}, "noise level"),
        ({"strata": "("}, "`strata` expected to be a regular expression"),
        ({"strata": "nothing"}, "`strata` 'nothing' expected to match"),
    ],
)
def test_what_cannot_be_used_is_refused(folders, tmp_path, settings, word):
    given = {"train": folders[1], "test": None, **FAST, **settings}
    with pytest.raises(InputError, match=word):
        theodolite.detect("zoo:fashion-duplicated", folders[0], given.pop("test"), tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_a_model_without_a_denoiser_is_refused(folders, tmp_path):
    with pytest.raises(InputError, match="measures diffusion models"):
        theodolite.detect("zoo:digits", folders[0], None, tmp_path / "run", train=folders[1])


def test_images_of_which_some_have_no_class_are_refused(folders, tmp_path):
    table = tmp_path / "classes.csv"
    files = [f"{path.parent.name}/{path.name}" for path in folders[1].rglob("*.png")]
    table.write_text("file,class\n" + "".join(f"{file},0\n" for file in files))
    with pytest.raises(InputError, match="a class of every image"):
        theodolite.detect("zoo:fashion-duplicated", folders[0], None, tmp_path / "run", train=folders[1], classes=table)


def test_classes_come_from_a_table_too(tmp_path):
    from theodolite.data.labels import classes_of

    table = tmp_path / "classes.csv"
    table.write_text("file,class\na.png,3\nb.png,0\n")
    assert classes_of(str(table), {"x": "a.png", "y": "b.png"}) == {"x": 3, "y": 0}
    assert classes_of(None, {"x": "7/a.png", "y": "sub/2/b.png"}) == {"x": 7, "y": 2}
    assert classes_of(None, {"x": "a.png"}) == {}
    table.write_text("file,class\na.png,shoe\n")
    with pytest.raises(InputError, match="whole number"):
        classes_of(str(table), {"x": "a.png"})
    table.write_text("file,class\na.png,prompts/a.safetensors\n")
    with pytest.raises(InputError, match="no file beside it"):
        classes_of(str(table), {"x": "a.png"})


@pytest.fixture(scope="module")
def of_text(folders, tmp_path_factory):
    """A tiny network of text, a table with the embeddings of a prompt for every image, and those of no prompt."""
    diffusers = pytest.importorskip("diffusers")
    root = tmp_path_factory.mktemp("text")
    torch.manual_seed(0)
    network = diffusers.UNet2DConditionModel(
        sample_size=14,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        cross_attention_dim=12,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=4,
    )
    network.save_pretrained(root / "unet")
    diffusers.DDPMScheduler().save_pretrained(root / "scheduler")
    (root / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"}))
    rows, draw = ["file,class"], torch.Generator().manual_seed(1)
    for folder in folders:
        for path in sorted(folder.rglob("*.png")):
            file = path.relative_to(folder)
            save_file({"embeddings": torch.randn(1, 4, 12, generator=draw)}, root / f"{file.stem}.safetensors")
            rows.append(f"{file},{file.stem}.safetensors")
    (root / "prompts.csv").write_text("\n".join(rows) + "\n")
    save_file({"embeddings": torch.zeros(1, 4, 12)}, root / "empty.safetensors")
    return root


def test_a_model_of_text_is_told_the_prompt_of_every_image(of_text, folders, tmp_path):
    given = {"train": folders[1], "classes": of_text / "prompts.csv", "sigma": [0.2, 0.4], "budget": "quick"}
    scores = ["flipd", "loss_contrast"]
    given |= {"level": 0.8, "unconditional": of_text / "empty.safetensors", "scores": scores}
    run = theodolite.detect(of_text / "unet", folders[0], None, tmp_path / "run", **given)
    assert not run.info["failed"]
    assert {row["score"] for row in run.derived_rows if row["quantity"] == "p_value"} >= {f"{s}@0.2" for s in scores}
    assert {row["stratum"] for row in run.parquet("thresholds")} == {"all"}
    image = next(sample for sample in run.info["classes"] if "100x" in sample)
    values = {row["sigma"]: row["value"] for row in run.rows() if (row["sample"], row["quantity"]) == (image, "flipd")}
    # by hand: the same image under its own prompt, and under none
    work = opened(prepared(Detect, [of_text / "unet"], {"reference": folders[0], **given}))
    probe = work._probe([image], work.picture_of(image), 0.2)
    assert probe.condition.shape == (1, 4, 12)
    assert torch.equal(probe.unconditional, torch.zeros(1, 4, 12))
    assert values[0.2] == pytest.approx(float(memorisation_scores()["flipd"].function(probe).value), rel=1e-4)
    assert not torch.allclose(probe.denoised, probe.denoised_bare)


def test_without_what_stands_for_no_prompt_scores_that_need_it_are_left_out_or_refused(of_text, folders, tmp_path):
    given = {"reference": folders[0], "train": folders[1], "classes": of_text / "prompts.csv", "sigma": [0.2, 0.4]}
    work = opened(prepared(Detect, [of_text / "unet"], given))
    assert "flipd" in work.scores
    assert not {"loss_contrast", "guidance_magnitude"} & set(work.scores)
    assert "`unconditional`" in work.record()["left_out"][0]["reason"]
    with pytest.raises(InputError, match="`unconditional` expected"):
        opened(prepared(Detect, [of_text / "unet"], {**given, "scores": ["flipd", "loss_contrast"]}))


def test_what_stands_for_no_condition_is_refused_where_no_image_has_one(folders, tmp_path):
    given = {"unconditional": "3"}
    for role, folder in zip(("reference", "train"), folders):
        given[role] = tmp_path / role
        given[role].mkdir()
        for path in folder.rglob("*.png"):
            (given[role] / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="none has one"):
        opened(prepared(Detect, ["zoo:fashion-plain"], given))


def test_numbers_of_an_image_do_not_depend_on_those_beside_it_but_for_last_digits(folders):
    """Images of two classes at once, as long runs measure them, and each alone: on pixels and on latents."""
    for model in ("zoo:fashion-duplicated", "zoo:fashion-latent"):
        given = {"reference": folders[0], "train": folders[1], **FAST}
        given["scores"] = ["flipd", "denoising_loss", "curvature_product"]
        work = opened(prepared(Detect, [model], given))
        sitting = Sitting(print, lambda unit: None, {})
        assert work.together > 1
        together = work.measure_together(work.units, sitting)
        assert set(together) == set(work.units)
        for unit in work.units[::5]:
            alone = work.measure(unit, sitting)
            assert [row["status"] for row in together[unit].rows] == [row["status"] for row in alone.rows]
            for one, other in zip(alone.rows, together[unit].rows):
                assert all(one[name] == other[name] for name in ("quantity", "sigma", "sample"))
                assert one["value"] == pytest.approx(other["value"], rel=1e-4, abs=1e-4)
                assert one["stderr"] == pytest.approx(other["stderr"], rel=1e-3, abs=1e-4)
            assert alone.arrays.keys() == together[unit].arrays.keys()
            for name, values in alone.arrays.items():
                torch.testing.assert_close(values, together[unit].arrays[name], rtol=1e-3, atol=1e-4)
            assert alone.pictures.keys() == together[unit].pictures.keys()
