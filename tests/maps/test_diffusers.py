"""Every diffusers autoencoder of images: tiny random ones against direct calls of diffusers."""

from __future__ import annotations

import pytest
import torch
from studies.compatibility.autoencoders import AUTOENCODERS

from theodolite.errors import InputError
from theodolite.maps.checkpoints import from_folder
from theodolite.maps.diffusers import from_diffusers, normalisation_of

diffusers = pytest.importorskip("diffusers")

VIDEO_ARGUMENTS = {"AutoencoderKLTemporalDecoder": {"num_frames": 1}, "VQModel": {"force_not_quantize": True}}


def tiny(name, **changes):
    kind = getattr(diffusers, name, None)
    if kind is None:
        pytest.skip(f"this diffusers has no {name}")
    torch.manual_seed(0)
    return kind(**{**AUTOENCODERS[name], **changes}).eval()


def noise(channels=3, side=32, n=2):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def direct_latents(output):
    """Raw latents as a caller of diffusers would take them, without an axis of frames."""
    if hasattr(output, "latent_dist"):
        raw = output.latent_dist.mode()
    else:
        raw = output.latents if hasattr(output, "latents") else output.latent
    return raw[:, :, 0] if raw.ndim == 5 else raw


@pytest.mark.parametrize("name", [name for name in AUTOENCODERS if name != "AutoencoderRAE"])  # has a test of its own
@torch.no_grad()
def test_every_class_comes_back_from_its_folder_as_diffusers_runs_it(name, tmp_path):
    if getattr(diffusers, name, None) is None:
        pytest.skip(f"this diffusers has no {name}")
    model = tiny(name)
    model.save_pretrained(tmp_path)
    loaded = from_diffusers(from_folder(tmp_path).model)
    side = 64 if loaded.downsampling == 32 else 32
    batch = noise(side=side)
    latents = loaded.encode(batch)
    before = loaded.fingerprint()
    images = loaded.decode(latents)

    expected = (2, loaded.latent_shape[0], side // loaded.downsampling, side // loaded.downsampling)
    assert (latents.shape, images.shape) == (expected, batch.shape)
    assert loaded.fingerprint() == before

    row = loaded.encoder.function.encoder.pixels.apply(batch[:1])
    row = torch.cat([row, torch.ones_like(row[:, :1])], 1) if loaded.encoder.function.encoder.opaque else row
    frames = loaded.encoder.function.encoder.frames
    raw = direct_latents(model.encode(row[:, :, None] if frames else row))
    torch.testing.assert_close(latents[:1], loaded.normalisation.apply(raw), rtol=1e-3, atol=1e-4)
    again = loaded.normalisation.invert(latents[:1])
    decoded = model.decode(again[:, :, None] if frames else again, **VIDEO_ARGUMENTS.get(name, {})).sample
    decoded = (decoded[:, :, 0] if frames else decoded)[:, :3]
    torch.testing.assert_close(images[:1], loaded.decoder.function.decoder.pixels.invert(decoded), rtol=1e-3, atol=1e-3)


def test_sampling_is_what_diffusers_draws():
    model = tiny("AutoencoderKL")
    loaded, batch = from_diffusers(model), noise()
    drawn = loaded.encode(batch, sample=True, generator=torch.Generator().manual_seed(5))
    posterior = model.encode(batch).latent_dist
    expected = posterior.sample(torch.Generator().manual_seed(5)) * model.config.scaling_factor
    torch.testing.assert_close(drawn, expected)
    torch.testing.assert_close(loaded.encode(batch), posterior.mean * model.config.scaling_factor)


def test_a_model_of_one_channel_is_found_out():
    model = tiny("AutoencoderKL", in_channels=1, out_channels=1)
    assert from_diffusers(model).image_channels == 1


def test_convention_shift_and_scale():
    model = tiny("AutoencoderKL", scaling_factor=1.5305, shift_factor=0.0609)
    raw = model.encode(noise()).latent_dist.mode()
    torch.testing.assert_close(from_diffusers(model).encode(noise()), (raw - 0.0609) * 1.5305)


def test_convention_scale_of_each_channel():
    raw = tiny("AutoencoderKL").encode(noise()).latent_dist.mode()
    scaled = from_diffusers(tiny("AutoencoderKL", scaling_factor=[0.1, 0.2, 0.3, 0.4])).encode(noise())
    torch.testing.assert_close(scaled, raw * torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 4, 1, 1))


def test_convention_channel_statistics_of_stable_diffusion_xl():
    mean, std = [0.1, -0.2, 0.3, 0.4], [0.5, 1.0, 1.5, 2.0]
    model = tiny("AutoencoderKL", scaling_factor=0.13025, latents_mean=mean, latents_std=std)
    raw = model.encode(noise()).latent_dist.mode()
    expected = (raw - torch.tensor(mean).view(1, 4, 1, 1)) * 0.13025 / torch.tensor(std).view(1, 4, 1, 1)
    torch.testing.assert_close(from_diffusers(model).encode(noise()), expected)


def test_statistics_without_their_pair_are_left_out_as_in_the_pipelines():
    model = tiny("AutoencoderKL", latents_mean=[1.0, 1.0, 1.0, 1.0])
    assert normalisation_of(model).convention == "scaling_factor"


def test_convention_reciprocal_deviations_of_wan():
    model = tiny("AutoencoderKLWan")
    raw = model.encode(noise()[:, :, None]).latent_dist.mode()
    mean = torch.tensor(model.config.latents_mean).view(1, 16, 1, 1, 1)
    reciprocal = 1.0 / torch.tensor(model.config.latents_std).view(1, 16, 1, 1, 1)
    expected = ((raw - mean) * reciprocal)[:, :, 0]
    torch.testing.assert_close(from_diffusers(model).encode(noise()), expected, rtol=1e-4, atol=1e-5)


def test_convention_buffers_of_ltx():
    model = tiny("AutoencoderKLLTXVideo", scaling_factor=0.7)
    model.latents_mean.copy_(torch.linspace(-1, 1, 8))
    model.latents_std.copy_(torch.linspace(0.5, 2, 8))
    raw = model.encode(noise()[:, :, None]).latent_dist.mode()
    mean, std = model.latents_mean.view(1, -1, 1, 1, 1), model.latents_std.view(1, -1, 1, 1, 1)
    expected = ((raw - mean) * 0.7 / std)[:, :, 0]
    torch.testing.assert_close(from_diffusers(model).encode(noise()), expected, rtol=1e-4, atol=1e-5)


def test_convention_batch_statistics_of_flux_2():
    model = tiny("AutoencoderKLFlux2")
    model.bn.running_mean.copy_(torch.linspace(-1, 1, 16))
    model.bn.running_var.copy_(torch.linspace(0.5, 2, 16))
    raw = model.encode(noise()).latent_dist.mode()
    n, channels, height, width = raw.shape
    folded = raw.view(n, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
    folded = folded.reshape(n, channels * 4, height // 2, width // 2)
    spread = torch.sqrt(model.bn.running_var.view(1, -1, 1, 1) + model.config.batch_norm_eps)
    loaded = from_diffusers(model)
    torch.testing.assert_close(loaded.encode(noise()), (folded - model.bn.running_mean.view(1, -1, 1, 1)) / spread)
    assert (loaded.latent_shape, loaded.downsampling) == ((16, None, None), 4)


def test_convention_first_frame_of_cosmos():
    model = tiny("AutoencoderKLCosmos")
    mean = torch.tensor(model.config.latents_mean).view(1, 16, -1)[:, :, 0]
    torch.testing.assert_close(torch.tensor(normalisation_of(model).latents_mean), mean[0])


def test_convention_tiny_storage_terms_are_not_applied():
    loaded = from_diffusers(tiny("AutoencoderTiny"))
    assert loaded.normalisation.convention == "none"
    assert any("8-bit storage" in note for note in loaded.describe()["notes"])


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_type": "spatial", "block_out_channels": (32, 32), "norm_num_groups": 32},
        {"lookup_from_codebook": True},
    ],
    ids=["MoVQ", "aMUSEd"],
)
def test_quantised_models_whose_pipelines_do_not_scale_stay_raw(changes):
    loaded = from_diffusers(tiny("VQModel", **changes))
    assert loaded.normalisation.convention == "none"
    assert any("not applied" in note for note in loaded.notes)
    assert loaded.decode(loaded.encode(noise())).shape == noise().shape


def test_the_decoder_of_a_quantised_model_has_a_derivative():
    loaded = from_diffusers(tiny("VQModel").requires_grad_(False))
    latents = loaded.encode(noise(n=1)).requires_grad_()
    loaded.decode(latents).square().sum().backward()
    assert latents.grad.abs().min() > 0


def test_pixels_of_kandinsky_6_follow_its_pipeline():
    model = tiny("Kandinsky6SRVAE")
    loaded, video = from_diffusers(model), (noise() + 1) * (127.5 / 128) - 1
    raw = model.encode(video[:, :, None]).latent_dist.mode()
    scale = model.config.scaling_factor
    torch.testing.assert_close(loaded.encode(noise()), raw[:, :, 0] * scale, rtol=1e-4, atol=1e-5)
    decoded = (model.decode(raw).sample + 1) * (128 / 127.5) - 1
    torch.testing.assert_close(loaded.decode(raw[:, :, 0] * scale), decoded[:, :, 0], rtol=1e-3, atol=1e-4)


def test_representation_autoencoder_takes_pixels_from_zero_to_one():
    pytest.importorskip("transformers", reason="AutoencoderRAE builds its encoder with transformers")
    model = tiny("AutoencoderRAE")
    loaded = from_diffusers(model)
    latents = model.encode((noise() + 1) / 2).latent
    torch.testing.assert_close(loaded.encode(noise()), latents)
    torch.testing.assert_close(loaded.decode(latents), model.decode(latents).sample * 2 - 1)
    assert (loaded.image_size, loaded.normalisation.convention) == ((32, 32), "none")


def test_a_timestep_conditioned_decoder_runs_at_zero():
    model = tiny("AutoencoderKLLTXVideo", timestep_conditioning=True)
    loaded = from_diffusers(model)
    latents = loaded.encode(noise())
    expected = model.decode(latents[:, :, None], temb=torch.zeros(2)).sample[:, :, 0]
    torch.testing.assert_close(loaded.decode(latents), expected)
    assert any("timestep 0" in note for note in loaded.notes)


def test_a_decoder_that_draws_noise_is_refused():
    model = tiny("AutoencoderKLLTXVideo", decoder_inject_noise=(True,) * 5)
    for name, weight in model.named_parameters():
        if "per_channel_scale" in name:
            weight.data.fill_(1.0)
    with pytest.raises(InputError, match="draws noise"):
        from_diffusers(model)


def test_a_model_that_takes_no_batch_is_run_row_by_row():
    loaded = from_diffusers(tiny("AutoencoderKLHunyuanVideo15"))
    assert loaded.encode(noise(n=3)).shape[0] == 3
    assert any("one image at a time" in note for note in loaded.notes)


class Renamed(torch.nn.Linear):
    config = {}  # noqa: RUF012


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ConsistencyDecoderVAE", "draws noise"),
        ("AutoencoderOobleck", "audio"),
        ("AutoencoderKLLTX2Audio", "audio"),
        ("MMAudioVocoder", "audio"),
        ("RFD4ProteinaAutoencoder", "protein"),
        ("AutoencoderKLAllegro", "several frames"),
        ("AutoencoderVidTok", "several frames"),
    ],
)
def test_other_autoencoders_are_refused_with_the_reason(name, reason):
    model = type(name, (Renamed,), {})(1, 1)
    with pytest.raises(InputError, match=reason) as caught:
        from_diffusers(model)
    assert name in str(caught.value)


def test_fingerprint_does_not_depend_on_the_folder(tmp_path):
    model = tiny("AutoencoderTiny")
    prints = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        model.save_pretrained(folder)
        prints.append(from_diffusers(from_folder(folder).model).fingerprint())
    assert prints[0] == prints[1]
    changed = tiny("AutoencoderTiny", scaling_factor=2.0)
    assert from_diffusers(changed).fingerprint() != prints[0]


def test_float64_copy_of_a_decoder_leaves_the_model_alone():
    model = tiny("AutoencoderKL")
    loaded = from_diffusers(model)
    latents = loaded.encode(noise())
    wide = loaded.decoder.to(dtype=torch.float64)(latents.double())
    assert (wide.dtype, model.dtype) == (torch.float64, torch.float32)
    torch.testing.assert_close(wide.float(), loaded.decode(latents), rtol=1e-3, atol=1e-4)
