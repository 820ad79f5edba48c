"""Models and images as people have them, from end to end: each is measured, or refused with the reason."""

import numpy as np
import pytest
from PIL import Image

from theodolite import survey
from theodolite.errors import InputError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for index in range(2):
        coarse = np.random.default_rng(index).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((32, 32)).save(tmp_path / "images" / f"{index}.png")
    return tmp_path / "images"


@pytest.fixture
def surveyed(situations, folder, tmp_path):
    def call(name, data=folder, **settings):
        settings = {"descriptors": ["local_scaling"], "budget": "quick", **settings}
        return survey(f"situations:{name}", data, tmp_path / name, **settings)

    return call


def scaling(run):
    (rows,) = [run.rows(quantity="local_scaling")]
    assert {row["status"] for row in rows} <= {"ok"}
    return [(row["value"], row["stderr"]) for row in rows]


@pytest.mark.parametrize("name", ["of_a_distribution", "of_a_dictionary", "holding", "of_the_parent", "in_half"])
def test_every_way_to_write_one_model_measures_the_same(surveyed, name):
    """The last one evaluates in half precision, which a measurement does not."""
    for mine, plain in zip(scaling(surveyed(name)), scaling(surveyed("plain"))):
        assert mine[0] == pytest.approx(plain[0], abs=1e-3)


def test_a_decode_that_was_replaced_is_the_one_measured(surveyed):
    dimension = 2 * 8 * 8
    other, plain = scaling(surveyed("replaced")), scaling(surveyed("plain"))
    for mine, theirs in zip(other, plain):
        assert mine[0] == pytest.approx(theirs[0] + dimension * np.log(3), abs=1e-2)


def test_tokens_are_measured_at_the_size_that_is_given(surveyed):
    run = surveyed("tokens", size=64, limit=1, descriptors=["leading_singular_value"])
    assert run.info["latent_shape"] == [64, 6]
    run = surveyed("tokens_with_a_class", limit=1, descriptors=["leading_singular_value"])
    assert run.info["latent_shape"] == [17, 6]  # images of 32 pixels, as they are


def test_images_of_the_only_size_are_taken_without_a_size(surveyed, tmp_path):
    (tmp_path / "grey").mkdir()
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "grey" / f"{index}.png")
    run = surveyed("attending_40", tmp_path / "grey")
    assert run.info["model"]["image_size"] == [40, 40]
    assert len(run.units) == 2


def test_images_of_another_size_are_refused_with_the_one_to_give(surveyed):
    with pytest.raises(InputError, match="takes 28x28 pixels only; give --size 28 to resize to them"):
        surveyed("attending_28")


def test_a_decoder_of_the_unit_range_is_noted(surveyed):
    run = surveyed("of_unit_range")
    assert any("outputs stay in [0, 1] while its images are in [-1, 1]" in note for note in run.info["model"]["notes"])


def test_a_codebook_is_refused_in_one_sentence(surveyed):
    with pytest.raises(InputError, match="looks up a codebook, or rounds: it is constant in pieces") as caught:
        surveyed("of_a_codebook")
    assert "\n" not in str(caught.value)


def test_a_straight_through_quantiser_is_undefined_and_says_why(surveyed):
    run = surveyed("straight_through")
    assert {row["status"] for row in run.table.to_pylist()} == {"undefined"}
    assert "a quantiser inside it" in run.info["self_check"]["message"]
    assert not run.info["self_check"]["passed"]


def test_a_decode_that_leaves_torch_is_refused(surveyed):
    with pytest.raises(InputError, match="leaves torch"):
        surveyed("of_numpy")


def test_what_was_drawn_stands_in_the_record(surveyed):
    assert surveyed("plain", limit=1).info["data"]["notes"] == ["1 of 2 images, drawn with seed 0"]
