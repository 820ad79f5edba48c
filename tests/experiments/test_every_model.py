"""Every verb on every kind of model, from one command line each: the table of `docs/models.md`."""

from __future__ import annotations

import importlib
import pathlib
import sys

import pytest

from theodolite import read_run

STAND_INS = pathlib.Path(__file__).parents[1] / "stand_ins"

LATENTS = "--latents seed:0..1"
PLANE = "--anchor seed:1,seed:2,seed:3"
VERBS = {
    "survey": f"survey MODEL {LATENTS} --budget quick --descriptors local_rank STEPS",
    "detect": "detect MODEL --reference seed:0..1 --latents seed:3 --scores local_rank,nearest_neighbour STEPS",
    "hotspots": f"hotspots MODEL {LATENTS} --dimension 2 --neighbours 1 STEPS",
    "compare": f"compare MODEL MODEL {LATENTS} --descriptors leading_singular_value STEPS",
    "sample": "sample MODEL --data {photos} --limit 2 --latents seed:0..2 --descriptors local_rank STEPS",
    "path": "path MODEL seed:1 seed:2 --steps 4 --via linear SAMPLER",
    "traverse": f"traverse plane MODEL {PLANE} --grid 2 SAMPLER",
    "phases": f"phases MODEL {PLANE} --grid 7 --samples 60 SAMPLER",
}
QUANTITY = {
    "survey": "local_rank",
    "detect": "score",
    "hotspots": "subspace_ls_max",
    "compare": "leading_singular_value",
    "sample": "local_rank",
    "path": "length",
    "traverse": "local_rank",
    "phases": "codazzi_residual",
}
"""A number that a run of each verb has."""

STEPS = ("--steps 2", "--sampler-steps 2")
MODELS = {
    "gan": ("kinds:gan", "", ("", "")),
    "x0": ("kinds:clean", "", STEPS),
    "eps": ("kinds:noise_of_steps", "", STEPS),
    "flow": ("{flow}", "--condition {prompt}", STEPS),
    "flux": ("{flux}/transformer", "--condition {prompt} --size 4", ("--steps 1", "--sampler-steps 1")),
    "tokens": ("situations:tokens", "--size 16", ("", "")),
}
KINDS = {"gan": "generator", "tokens": "decoder"}
HEAVY = {
    *(("flux", verb) for verb in ("compare", "traverse")),
    *(("flow", verb) for verb in ("compare", "traverse", "sample")),
}
"""Left to the docs, where they were tried: what they add to the others is time."""
CELLS = [(model, verb) for model in MODELS for verb in VERBS if (model, verb) not in HEAVY]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of pipelines, and of the embeddings of a prompt."""
    pytest.importorskip("diffusers")
    sys.path.insert(0, str(STAND_INS))
    kinds, folder = importlib.import_module("kinds"), tmp_path_factory.mktemp("saved")
    made = {name: getattr(kinds, f"saved_{name}")(folder / name) for name in ("flow", "flux")}
    return {**made, "prompt": kinds.saved_prompt(folder / "prompt.safetensors")}


@pytest.mark.parametrize(("model", "verb"), CELLS, ids=["-".join(cell) for cell in CELLS])
def test_from_one_command(invoke, tiny, saved, photos, tmp_path, model, verb):
    name, options, steps = MODELS[model]
    words = VERBS[verb].replace("MODEL", name).replace("STEPS", steps[0]).replace("SAMPLER", steps[1])
    given = f"{words} {options} --no-report --out {tmp_path / 'run'}".format(photos=photos, **saved)
    result = invoke(*given.split())
    assert result.exit_code == 0, result.output
    run = read_run(tmp_path / "run")
    assert any(row["value"] is not None for row in run.rows(quantity=QUANTITY[verb]))
    if verb in ("survey", "detect", "hotspots", "compare", "sample"):
        assert run.info["map"] == KINDS.get(model, "sampler")
    if verb in ("survey", "detect", "hotspots", "compare"):
        assert run.info["data"]["latents"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "rank kinds:gan kinds:gan_of_another_epoch --data {photos}",
            "`rank` measures images and latents of autoencod",
        ),
        ("diffusability kinds:clean --data {photos}", "has neither encoder nor decoder but sampler and denoiser"),
        ("guide kinds:gan", "`guide` measures diffusion models, and kinds:gan has no denoiser but generator"),
        ("decouple situations:tokens", "`decouple` measures diffusion models, and situations:tokens has no denoiser"),
        ("traverse denoising kinds:gan", "`traverse denoising` measures diffusion models"),
        ("traverse corruptions kinds:gan --data {photos}", "`traverse corruptions` measures images and latents"),
        (
            "survey kinds:gan --data {photos}",
            "kinds:gan makes images and takes none: a generator is measured at latents",
        ),
        (
            "survey kinds:clean --data {photos}",
            "the denoiser of kinds:clean is measured at a noise level: give --sigma",
        ),
        ("survey kinds:clean --latents seed:0 --map denoiser --sigma 1", "or a file of noisy points, not seeds"),
        ("detect kinds:gan --reference seed:0..3 --latents seed:2", "different latents expected"),
        ("detect kinds:gan --reference seed:0 --latents seed:2..4", "two reference latents or more expected"),
        ("hotspots kinds:gan --latents seed:0", "thresholds of two latents or more expected"),
        ("compare kinds:gan kinds:clean --latents seed:0", "points of one shape expected"),
        ("compare situations:plain kinds:clean --data {photos} --map denoiser --sigma 1", "has no denoiser"),
        ("compare kinds:gan kinds:gan", "--data FOLDER or --latents SEEDS expected"),
        ("path {flow} seed:1 seed:2", "needs a condition: give --condition CLASS, or a .safetensors file"),
        (
            "path kinds:gan seed:1 seed:2 --scale 2",
            "--scale belongs to a denoiser or a sampler",
        ),
    ],
)
def test_what_a_model_has_not_is_one_true_sentence(refused, tiny, saved, photos, tmp_path, words, message):
    refused(message, *f"{words} --out {tmp_path / 'run'}".format(photos=photos, **saved).split())
    assert not (tmp_path / "run").exists()
