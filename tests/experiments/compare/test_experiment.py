"""What differs between two models, where the truth is known: closed forms, resuming, refusals."""

from __future__ import annotations

import math
import shutil

import pytest

from theodolite.diffusability.models import contrast_models
from theodolite.errors import InputError
from theodolite.estimates import NOT_NUMBERS
from theodolite.experiments.compare.experiment import SPACES
from theodolite.runs import read_run


def parts(run, quantity, **where):
    """First, second and difference of a quantity."""
    rows = {row["part"]: row for row in run.rows(quantity, **where) if row["part"]}
    return [rows[part] for part in ("first", "second", "difference")]


def unexplained(run, fit):
    (row,) = run.rows("unexplained", fit=fit, channel=None)
    return row


class TestAModelAndItself:
    def test_every_difference_is_exactly_nothing(self, compared):
        run = compared("plain")
        rows = [row for row in run.rows(part="difference") if row["status"] not in NOT_NUMBERS]
        assert len(rows) > 20
        assert {row["value"] for row in rows} == {0.0}
        assert {row["stderr"] for row in rows} == {0.0}

    def test_no_map_is_needed_between_the_latents(self, compared):
        run = compared("plain")
        assert unexplained(run, "identity")["value"] == 0.0
        assert all(row["value"] == 0.0 for row in run.rows("unexplained", fit="identity"))

    def test_no_image_moves(self, compared):
        assert [row["value"] for row in compared("plain").rows("moved")] == [0.0] * 5


class TestADecoderFineTuned:
    def test_its_gain_is_exactly_that_much_larger(self, compared):
        first, second, difference = parts(compared("finetuned"), "gain")
        assert second["value"] == pytest.approx(1.5 * first["value"], rel=1e-5)
        assert difference["value"] == pytest.approx(0.5 * first["value"], rel=1e-5)
        assert difference["value"] > 1.96 * difference["stderr"]

    def test_volume_grows_by_the_logarithm_of_it_in_every_dimension(self, compared):
        *_, difference = parts(compared("finetuned"), "local_scaling_per_dimension")
        assert difference["value"] == pytest.approx(math.log(1.5), abs=1e-3)

    def test_the_latent_space_did_not_move(self, compared):
        run = compared("finetuned")
        assert unexplained(run, "identity")["value"] == 0.0
        for quantity in ("gap", "shift"):
            assert parts(run, quantity)[2]["value"] == 0.0
        assert all(row["value"] == 0.0 for row in run.rows("resolved", part="difference"))

    def test_on_the_others_latents_the_decoders_do_what_they_do_on_their_own(self, compared):
        run = compared("finetuned")
        own, other = (parts(run, "rmse", latents=latents) for latents in ("own", "other"))
        assert [row["value"] for row in own] == [row["value"] for row in other]

    def test_images_move_by_half_of_what_the_first_decoder_gives(self, compared, pairs, photos):
        import theodolite

        run, model = compared("finetuned"), pairs.plain()
        images = theodolite.load_images(photos, channels=3)
        backs = model.decode(model.encode(images)).detach().double()
        moved = {row["sample"]: row["value"] for row in run.rows("moved")}
        expected = (0.25 * backs.square()).flatten(1).mean(1).sqrt()
        assert [moved[sample] for sample in sorted(moved)] == pytest.approx(expected.tolist(), rel=1e-5)


class TestLatentsMovedByAMap:
    def test_a_rotation_is_explained_by_a_matrix_and_not_channel_by_channel(self, compared):
        run = compared("turned")
        assert unexplained(run, "affine")["value"] < 1e-9
        for fit in ("identity", "scale", "channelwise"):
            row = unexplained(run, fit)
            assert row["value"] > 0.1
            assert row["low"] >= 0
        assert parts(run, "rmse", latents="own")[2]["value"] == pytest.approx(0.0, abs=1e-6)

    def test_rounding_is_no_difference(self, compared):
        for second in ("turned", "rescaled"):
            for quantity in ("gap", "shift", "gain" if second == "turned" else "rmse"):
                *_, difference = parts(compared(second), quantity, latents="own" if quantity == "rmse" else None)
                assert abs(difference["value"]) <= 1.96 * difference["stderr"], quantity

    def test_another_decoder_sees_that_the_latents_moved(self, compared):
        run = compared("turned")
        own, other = (parts(run, "rmse", latents=latents) for latents in ("own", "other"))
        assert other[0]["value"] > own[0]["value"]

    def test_another_normalisation_is_one_scale(self, compared):
        run = compared("rescaled")
        assert unexplained(run, "scale")["value"] < 1e-9
        assert unexplained(run, "identity")["value"] > 1  # worse than a constant
        first, second, _ = parts(run, "gain")
        assert second["value"] == pytest.approx(4 * first["value"], rel=1e-4)

    def test_latents_of_another_spacing_have_no_map(self, compare, tmp_path):
        run = compare("plain", "finer", tmp_path / "run")
        assert "unexplained" not in run.quantities
        assert not [row for row in run.rows("rmse") if row["latents"] == "other"]
        assert "(2, 4, 4) and (2, 8, 8)" in str(run.info["left_out"])


def test_both_spaces_are_those_of_the_function_in_memory(compared, pairs, photos):
    import theodolite

    run, images = compared("turned"), theodolite.load_images(photos, channels=3)
    sources = [f"photo{place}" for place in range(5)]
    tau, contrasts = contrast_models(pairs.plain(), pairs.turned(), images, sources)
    for quantity in ("gap", "shift"):
        stored = parts(run, quantity)
        assert [row["value"] for row in stored] == pytest.approx([e.item() for e in contrasts[quantity]], abs=1e-6)
    curve = run.rows("resolved", part="second")
    assert [row["tau"] for row in curve] == tau.tolist()
    assert [row["value"] for row in curve] == pytest.approx(contrasts["resolved"][1].value.tolist(), abs=1e-6)


def test_without_sources_enough_the_spaces_are_left_out_with_the_reason(compare, pairs, tmp_path):
    run = compare("plain", "turned", tmp_path / "run", data=pairs.photographs(tmp_path / "few", 2, 2))
    assert run.status == "complete"
    assert SPACES not in run.units
    assert "gap" not in run.quantities
    (entry,) = run.info["left_out"]
    assert entry == {"what": "diffusability", "reason": "needs images of 3 independent sources or more, got 2"}
    assert {row["status"] for row in run.rows(part="difference")} == {"undetermined"}
    assert {row["status"] for row in run.rows("unexplained", fit="affine")} == {"undetermined"}


def test_every_quantity_has_words(compared):
    run = compared("turned")
    assert {"gain", "gap", "shift", "resolved", "rmse", "psnr", "moved", "unexplained"} <= {*run.quantities}
    words = [run.words(name) for name in run.quantities]
    assert all(entry.label and entry.meaning for entry in words)
    gain = run.words("gain")
    assert (gain.label, gain.unit, gain.formula) == ("Gain", "output / latent", "sqrt(sum_i σ_i²) = ‖J‖_F")


@pytest.mark.slow
def test_a_run_that_is_killed_and_repeated_has_equal_tables(compare, compared, tmp_path):
    whole = compared("turned")
    for stop in range(len(whole.units)):

        def kill(done, total, what, stop=stop):
            if done == stop and what and done < total:
                raise KeyboardInterrupt

        out = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            compare("plain", "turned", out, progress=kill)
        half = read_run(out)
        assert half.status == "interrupted"
        assert len(half.units) == stop
        again = compare("plain", "turned", out)
        assert repr(again.table.to_pylist()) == repr(whole.table.to_pylist())


def test_a_complete_run_is_left_as_it_is(compared, compare, tmp_path):
    out = shutil.copytree(compared("finetuned").path, tmp_path / "run")
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file() and file.name != ".lock"}
    compare("plain", "finetuned", out)
    assert {file: file.read_bytes() for file in before} == before


def test_other_sources_measure_the_spaces_again_and_nothing_else(compared, compare, tmp_path):
    out = shutil.copytree(compared("turned").path, tmp_path / "run")
    merged = compare("plain", "turned", out, group="^phot(?=o[01])|^photo(?=2)|^photo[34]")
    assert merged.info["sittings"][-1]["units"] == 1
    assert parts(merged, "gap")[0]["n"] == parts(merged, "gain")[0]["n"] == 4
    same = compare("plain", "turned", out, group="^phot(?=o[10])|^photo(?=2)|^photo[43]")
    assert same.info["sittings"][-1]["units"] == 0


class TestRefusals:
    def test_models_of_other_images(self, compare, tmp_path):
        with pytest.raises(InputError, match="one kind of image expected, plain has 3 channels and grey 1"):
            compare("plain", "grey", tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_model_that_gives_no_images(self, compare, tmp_path):
        with pytest.raises(InputError, match=r"\(3, 16, 16\) expected back from to_vectors, got \(2,\)"):
            compare("plain", "to_vectors", tmp_path / "run")

    def test_two_models_without_images(self, compare, tmp_path):
        with pytest.raises(InputError, match="--data FOLDER or --latents SEEDS expected with two models, got neither"):
            compare("plain", "turned", tmp_path / "run", data=None)

    def test_a_folder_of_another_run(self, compare, compared, surveys, tmp_path):
        with pytest.raises(InputError, match="holds a run of `theodolite survey`"):
            compare("plain", "turned", surveys / "plain")
        with pytest.raises(InputError, match="another configuration"):
            compare("plain", "rescaled", compared("turned").path)
