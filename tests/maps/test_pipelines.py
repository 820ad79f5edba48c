"""Diffusers pipelines saved locally: loaded from their folder, sampled as diffusers samples, and differentiated."""

from __future__ import annotations

import json

import pytest
import torch

import theodolite
from theodolite import InputError, denoiser_map, jacobian, sampler_map
from theodolite.descriptors import REGISTRY
from theodolite.maps import Autoencoder, Denoiser

diffusers = pytest.importorskip("diffusers")
D = torch.float64


def unet():
    return diffusers.UNet2DModel(
        sample_size=8,
        in_channels=2,
        out_channels=2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


def text_unet():
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=6,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )


def dit():
    return diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=2,
        out_channels=4,
        num_layers=1,
        sample_size=8,
        patch_size=2,
        norm_num_groups=1,
        num_embeds_ada_norm=10,
    )


def sd3():
    return diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=6,
        caption_projection_dim=16,
        pooled_projection_dim=5,
        out_channels=4,
        pos_embed_max_size=8,
    )


def vae():
    return diffusers.AutoencoderKL(
        block_out_channels=(8,),
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
    )


def tokens(seed, *shape):
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))


TEXT = {"condition": tokens(0, 3, 6), "unconditional": tokens(1, 3, 6)}
PAIR = {
    name: {"encoder_hidden_states": tokens(seed, 3, 6), "pooled_projections": tokens(seed + 9, 5)}
    for name, seed in (("condition", 0), ("unconditional", 1))
}
CASES = {
    "unet": (unet, diffusers.DDPMScheduler, {}),
    "text": (text_unet, diffusers.DDIMScheduler, {**TEXT, "guidance": 3.0}),
    "dit": (dit, diffusers.DDIMScheduler, {"condition": 3, "guidance": 4.0}),
    "sd3": (sd3, diffusers.FlowMatchEulerDiscreteScheduler, {**PAIR, "guidance": 7.0}),
}


def saved(folder, make, scheduler, component=None):
    torch.manual_seed(0)
    network = make()
    component = component or ("transformer" if "Transformer" in type(network).__name__ else "unet")
    network.save_pretrained(folder / component)
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "Pipeline"}))
    return folder


def test_guidance_of_texts_without_its_start_is_one_clear_error():
    model = Denoiser(text_unet().eval(), schedule=diffusers.DDIMScheduler())
    with pytest.raises(InputError, match=r"^`unconditional` expected, which guidance 3 starts from: .*empty prompt"):
        sampler_map(model, 2, condition=TEXT["condition"], guidance=3.0)
    with pytest.raises(InputError, match="takes no class"):
        sampler_map(model, 2, condition=3, guidance=3.0, unconditional=TEXT["unconditional"])


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    make, scheduler, options = CASES[request.param]
    folder = saved(tmp_path_factory.mktemp(request.param) / "pipe", make, scheduler())
    return theodolite.load(folder, dtype="float64"), options


def noise(model, n=2):
    shape = (model.net.config.in_channels, 8, 8)
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=D)


def test_a_pipeline_without_autoencoder_is_a_denoiser(case):
    model, _ = case
    assert isinstance(model, Denoiser)
    assert model.autoencoder is None
    assert model.name.startswith("pipe/")
    assert not model.net.training
    assert not any(weight.requires_grad for weight in model.net.parameters())


@pytest.mark.parametrize("output", ["x0", "eps"])
def test_denoiser_maps_are_differentiated_exactly(case, output):
    model, options = case
    map, x, h = denoiser_map(model, 0.7, output, **options), noise(model), 1e-5
    J, V = jacobian(map, x), noise(model)[None].flip(-1)
    slope = (map(x + h * V[0]) - map(x - h * V[0])) / (2 * h)
    assert float((J.matvec(V)[0] - slope).norm() / slope.norm()) < 1e-6
    U = noise(model)[None].flip(-2)
    torch.testing.assert_close((U * J.matvec(V)).sum(), (V * J.rmatvec(U)).sum(), rtol=1e-8, atol=1e-8)


def test_sampler_maps_are_differentiated_exactly(case):
    model, options = case
    map = sampler_map(model, 3, "ddim", **options)
    J, V, h = jacobian(map, noise(model)), noise(model)[None].flip(-1), 1e-5
    slope = (J.at_offsets(h * V) - J.at_offsets(-h * V)) / (2 * h)
    assert float((J.matvec(V) - slope).norm() / slope.norm()) < 1e-6


@torch.no_grad()
def test_a_ddim_pipeline_is_sampled_as_diffusers_samples_it(tmp_path):
    scheduler = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=True)
    model = theodolite.load(saved(tmp_path, dit, scheduler), dtype="float64")
    scheduler.set_timesteps(5)
    x = z = noise(model)
    for step in scheduler.timesteps:
        c, u = (model.net(x, step[None], torch.tensor([one, one])).sample[:, :2] for one in (3, 10))
        x = scheduler.step(u + 4 * (c - u), step, x).prev_sample
    ours = sampler_map(model, 5, condition=3, guidance=4.0)(z)
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_flow_is_sampled_as_diffusers_samples_it(tmp_path, shift):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    model = theodolite.load(saved(tmp_path, sd3, scheduler), dtype="float64")
    scheduler.set_timesteps(4)
    x = z = noise(model)
    rows = {name: value.double().expand(2, *value.shape[1:]) for name, value in PAIR["condition"].items()}
    for step in scheduler.timesteps:
        velocity = model.net(x, timestep=step.double().expand(2), **rows).sample
        x = scheduler.step(velocity, step, x).prev_sample
    ours = sampler_map(model, 4, "euler", condition=PAIR["condition"])(z)
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "EDMEulerScheduler"])
def test_euler_schedules_in_sigma(tmp_path, name):
    scheduler = getattr(diffusers, name)()
    model = theodolite.load(saved(tmp_path, unet, scheduler), dtype="float64")
    scheduler.set_timesteps(5)
    z = noise(model)
    x = z * float((scheduler.sigmas[0] ** 2 + 1) ** 0.5)
    for step in scheduler.timesteps:
        given = scheduler.scale_model_input(x, step)
        x = scheduler.step(model.net(given, step.double()).sample, step, x).prev_sample
    torch.testing.assert_close(sampler_map(model, 5, "euler")(z), x, rtol=2e-3, atol=2e-3 * float(x.abs().max()))


def test_an_autoencoder_beside_the_network(tmp_path):
    folder = saved(tmp_path / "pipe", text_unet, diffusers.DDIMScheduler())
    torch.manual_seed(1)
    vae().save_pretrained(folder / "vae")
    assert isinstance(theodolite.load(folder), Autoencoder)
    model = theodolite.load(folder, subfolder="unet")
    assert model.name == "pipe/unet"
    assert model.autoencoder.fingerprint() == theodolite.load(folder).fingerprint()
    map = sampler_map(model, 2, decode=model.autoencoder, condition=TEXT["condition"])
    z = noise(model).float()
    final = sampler_map(model, 2, condition=TEXT["condition"])(z)
    torch.testing.assert_close(map(z), model.autoencoder.decode(final))
    assert map.output_range == (-1.0, 1.0)
    assert jacobian(map, z).matvec(z[None]).shape == (1, 2, 3, 8, 8)
    assert map.to(dtype=torch.float64).function.denoiser.autoencoder is model.autoencoder  # not copied with the network
    check = theodolite.derivatives.self_check(map, z)
    assert check.passed
    assert check.dtype == "float64"


@pytest.mark.parametrize("kind", ["x0", "sampler"])
def test_every_descriptor_works(tmp_path, kind):
    model = theodolite.load(saved(tmp_path, unet, diffusers.DDIMScheduler()))
    map = sampler_map(model, 2) if kind == "sampler" else denoiser_map(model, 0.8, kind)
    chart = theodolite.descriptors.Chart(map, noise(model, 1).float(), generator=0)
    for name, descriptor in REGISTRY.items():
        found = descriptor.function(map, chart.latents, generator=0, chart=chart)
        assert torch.isfinite(found.value).all(), name
        assert found.statuses[0] in ("ok", "rank-deficient", "undetermined", "truncated"), (
            name,
            found.statuses,
            found.message,
        )


def test_bad_folders_are_one_clear_error(tmp_path):
    folder = saved(tmp_path / "pipe", unet, diffusers.DDIMScheduler())
    model = theodolite.load(folder)
    with pytest.raises(InputError, match="takes no condition 'encoder_hidden_states'"):
        denoiser_map(model, 1.0, condition=TEXT["condition"])
    with pytest.raises(InputError, match="with one row"):
        denoiser_map(model, 1.0, condition=torch.tensor([1, 2]))
    with pytest.raises(InputError, match="takes no class"):
        denoiser_map(model, 1.0, condition=2, guidance=2.0)
    with pytest.raises(InputError, match=r"sigma between 0\.01 and 157\.4"):
        denoiser_map(model, 1000.0)
    with pytest.raises(InputError, match="the scheduler of UNet2DModel expected"):
        denoiser_map(model.net, 1.0)
    (folder / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "None"}')
    with pytest.raises(InputError, match="a diffusers scheduler expected"):
        theodolite.load(folder)
    (folder / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(InputError, match="the scheduler of"):
        theodolite.load(folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")
    (folder / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "DDIMScheduler"}')
    with pytest.raises(InputError, match="safetensors weights expected"):
        theodolite.load(folder)
