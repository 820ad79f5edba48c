"""Reading diffusers folders: what is there is loaded and noted, what is missing or broken is named in one line."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from theodolite.errors import InputError
from theodolite.maps.checkpoints import from_folder

diffusers = pytest.importorskip("diffusers")

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    tiny = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    tiny.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def refused(message, *arguments):
    with pytest.raises(InputError, match=message) as caught:
        from_folder(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def change_weights(folder, change):
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)


def test_reads_a_folder_in_float32_and_names_it(folder):
    read = from_folder(folder)
    assert (read.name, read.source, read.notes) == ("tiny", str(folder), [])
    assert next(read.model.parameters()).dtype == torch.float32
    assert not read.model.training


def test_takes_the_vae_of_a_pipeline(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "pipe" / "vae")
    (tmp_path / "pipe" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert from_folder(tmp_path / "pipe").name == "pipe/vae"
    assert from_folder(tmp_path / "pipe", "vae").source == str(tmp_path / "pipe" / "vae")


def test_a_pipeline_without_autoencoder_lists_what_it_has(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "pipe" / "unet")
    (tmp_path / "pipe" / "model_index.json").write_text("{}")
    refused("has unet; name its folder with subfolder=", tmp_path / "pipe")


def test_missing_folder_and_subfolder(folder):
    refused("does not exist", folder / "nowhere")
    refused("does not exist", folder, "vae")


def test_a_folder_without_configuration_names_those_below(folder):
    refused("no config.json; give subfolder= as one of tiny", folder.parent)
    (folder / "config.json").unlink()
    assert "subfolder" not in refused("no config.json", folder)


def test_a_configuration_that_is_no_json(folder):
    (folder / "config.json").write_text("{")
    refused("readable JSON", folder)


def test_a_configuration_without_class(folder):
    (folder / "config.json").write_text('{"model_type": "bert"}')
    refused("_class_name", folder)


def test_a_folder_without_weights(folder):
    (folder / WEIGHTS).unlink()
    refused("weights expected in", folder)


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.ckpt", "weights.pt", "weights.pth"])
def test_pickled_weights_are_refused_with_the_safe_way(folder, name):
    (folder / WEIGHTS).unlink()
    (folder / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    assert "AutoencoderTiny.from_pretrained(OLD, use_safetensors=False).save_pretrained(NEW)" in refused(
        "pickled", folder
    )


def test_the_safe_way_names_the_class_that_is_there(folder, tmp_path):
    (folder / "model.ckpt").touch()
    assert "diffusers.AutoencoderTiny.from_pretrained" in refused("pickled", folder / "model.ckpt")
    shutil.copy(folder / "model.ckpt", tmp_path / "alone.ckpt")
    assert "diffusers.CLASS.from_pretrained" in refused("CLASS as its config.json names it", tmp_path / "alone.ckpt")


def test_truncated_weights_are_to_be_downloaded_again(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    refused(f"{WEIGHTS} is damaged or incomplete .*download it again", folder)


def test_the_safe_way_works(folder, tmp_path):
    model = diffusers.AutoencoderTiny.from_pretrained(folder)
    model.save_pretrained(tmp_path / "old", safe_serialization=False)
    refused("pickled", tmp_path / "old")
    converted = diffusers.AutoencoderTiny.from_pretrained(tmp_path / "old", use_safetensors=False)
    converted.save_pretrained(tmp_path / "new")
    assert from_folder(tmp_path / "new").notes == []


@pytest.mark.parametrize("name", ["model.ckpt", "config.json"])
def test_a_file_in_place_of_a_folder(folder, name):
    (folder / name).touch()
    refused("pickled" if name.endswith("ckpt") else "got the file", folder / name)


def test_an_unknown_class(folder):
    change_config(folder, _class_name="AutoencoderOfTomorrow")
    refused("AutoencoderOfTomorrow .* unknown to diffusers .* upgrade", folder)


def test_a_model_that_is_no_autoencoder(folder):
    change_config(folder, _class_name="UNet2DModel")
    refused("an autoencoder expected in .* got UNet2DModel", folder)


def test_a_class_that_encodes_something_else(folder):
    change_config(folder, _class_name="AutoencoderOobleck")
    refused("audio", folder)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_broken_weights_are_named(folder, value):
    def broken(weights):
        weights["decoder.layers.0.weight"][0, 0] = value
        return weights

    change_weights(folder, broken)
    refused("decoder.layers.0.weight", folder)


def test_missing_weights_are_named_and_not_left_random(folder):
    change_weights(folder, lambda weights: {key: w for key, w in weights.items() if key != "decoder.layers.0.bias"})
    refused("lacks 1 of the weights of AutoencoderTiny, the first 'decoder.layers.0.bias'", folder)


def test_weights_of_another_shape(folder):
    change_config(folder, latent_channels=7)
    refused("could not be read", folder)


def test_truncated_weights(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])
    refused("could not be read", folder)


def test_unused_weights_are_noted(folder):
    change_weights(folder, lambda weights: {**weights, "extra": torch.zeros(1)})
    assert from_folder(folder).notes == ["1 tensors of the file are not used, the first 'extra'"]


@pytest.mark.parametrize(("dtype", "word"), [(torch.float16, "F16"), (torch.bfloat16, "BF16")])
def test_half_precision_on_disk_is_cast_up_and_noted(folder, dtype, word):
    change_weights(folder, lambda weights: {key: weight.to(dtype) for key, weight in weights.items()})
    read = from_folder(folder)
    assert read.notes == [f"weights stored as {word}, up-cast to float32"]
    assert {weight.dtype for weight in read.model.parameters()} == {torch.float32}


def test_a_variant_is_read_where_there_are_no_plain_weights(folder):
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.fp16.safetensors")
    assert from_folder(folder).notes == ["weights of the variant 'fp16'"]


def test_sharded_weights_are_read(folder):
    model = diffusers.AutoencoderTiny.from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="5KB")
    assert len(list(folder.glob("*-of-*.safetensors"))) > 1
    read = from_folder(folder)
    assert all(torch.equal(a, b) for a, b in zip(read.model.parameters(), model.parameters()))


def test_loading_is_silent_and_restores_the_verbosity(folder, capfd):
    change_config(folder, an_attribute_of_tomorrow=1)
    before = diffusers.utils.logging.get_verbosity()
    diffusers.utils.logging.set_verbosity(logging.INFO)
    try:
        from_folder(folder)
        assert diffusers.utils.logging.get_verbosity() == logging.INFO
    finally:
        diffusers.utils.logging.set_verbosity(before)
    assert capfd.readouterr() == ("", "")


PREFIXES = {
    "_orig_mod.": lambda key: f"_orig_mod.{key}",
    "module.": lambda key: f"module.{key}",
    "first_stage_model.": lambda key: f"first_stage_model.{key}",
    "inside": lambda key: key.replace("encoder.", "encoder._orig_mod.", 1),
}


@pytest.mark.parametrize("kind", PREFIXES)
def test_weights_under_a_prefix_are_read_and_it_is_said(folder, kind):
    right = from_folder(folder).model.state_dict()
    change_weights(folder, lambda weights: {PREFIXES[kind](key): value for key, value in weights.items()})
    read = from_folder(folder)
    assert all(torch.equal(value, right[key]) for key, value in read.model.state_dict().items())
    assert read.notes == [f"names of weights read without their prefix {kind if '.' in kind else '_orig_mod.'!r}"]


def test_a_prefix_does_not_hide_what_is_missing(folder):
    change_weights(folder, lambda weights: {f"vae.{key}": value for key, value in [*weights.items()][1:]})
    refused("lacks 1 of the weights of AutoencoderTiny", folder)


def test_a_prefixed_weight_of_another_shape_is_named(folder):
    def change(weights):
        return {f"vae.{key}": value[:1] if key.endswith("0.bias") else value for key, value in weights.items()}

    change_weights(folder, change)
    refused("to hold .* of shape", folder)


def test_one_file_stands_for_its_folder(folder):
    assert from_folder(folder / WEIGHTS).source == str(folder)


@pytest.mark.parametrize("prefix", ["", "vae."])
def test_one_file_of_another_name_is_read_by_the_configuration_beside_it(folder, prefix):
    right = from_folder(folder).model.state_dict()
    (folder / WEIGHTS).rename(folder / "mine.safetensors")
    save_file({prefix + k: v.half() for k, v in right.items()}, folder / "mine.safetensors")
    read = from_folder(folder / "mine.safetensors")
    assert read.name == "mine"
    assert all(torch.equal(value, right[key].half().float()) for key, value in read.model.state_dict().items())
    assert read.notes[-1] == "weights stored as F16, up-cast to float32"
    refused("it has mine.safetensors: give the path of that file", folder)


def test_one_file_without_configuration_is_refused_with_the_cure(folder, tmp_path):
    shutil.copy(folder / WEIGHTS, tmp_path / "alone.safetensors")
    refused("the config.json of its model beside it; .*from_single_file", tmp_path / "alone.safetensors")


def test_the_note_of_precision_is_of_the_weights_that_were_read(folder):
    half = {key: value.half() for key, value in load_file(folder / WEIGHTS).items()}
    save_file(half, folder / "diffusion_pytorch_model.fp16.safetensors")
    assert from_folder(folder).notes == []
    notes = from_folder(folder / "diffusion_pytorch_model.fp16.safetensors").notes
    assert notes == ["weights of the variant 'fp16'", "weights stored as F16, up-cast to float32"]


def test_a_class_of_which_diffusers_has_a_stand_in_only(folder):
    change_config(folder, _class_name="StableDiffusionPipeline")
    refused("an autoencoder expected in .*, got StableDiffusionPipeline", folder)
