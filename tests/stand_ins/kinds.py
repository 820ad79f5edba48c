"""A tiny model of every kind that people bring; verbs name them `kinds:gan`."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from theodolite import Denoiser


class Gan(nn.Module):
    """A plain generator of 8 x 8 colour images."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Unflatten(1, (2, 4, 4)))
        self.end = nn.Sequential(nn.ConvTranspose2d(2, 3, 2, 2), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        return self.end(self.body(z))


def gan() -> Gan:
    return Gan()


def gan_of_another_epoch() -> Gan:
    return Gan(seed=1)


class Clean(nn.Module):
    """The denoised point of images of small contrast, `E[x_0 | x]`, as most people write a denoiser."""

    shape = (3, 4, 4)

    def forward(self, x: Tensor, sigma: float) -> Tensor:
        return x * 0.1 / (0.1 + sigma**2) + 0.05 * (x * (1 + sigma**2) ** -0.5).tanh()

    def levels(self, steps: int) -> list[float]:
        return [4.0 * (1 - step / steps) ** 2 for step in range(steps + 1)]


def clean() -> Clean:
    """A module `D(x, sigma)` with its shape: an x0 callable."""
    return Clean()


class Noise(nn.Module):
    """A convolution that predicts noise, told the step."""

    shape = (3, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, y: Tensor, index: Tensor) -> Tensor:
        return y + 0.1 * self.mix(y).tanh() * (1 + index[:, None, None, None] / 1000)


def noise_of_steps() -> Denoiser:
    """A network of noise with the scheduler that it was trained by."""
    import diffusers

    return Denoiser(Noise().eval(), "eps", "index", diffusers.DDIMScheduler(clip_sample=False), name="noise")


def saved_flow(folder: Path) -> Path:
    """A transformer of flow matching (that of Stable Diffusion 3) with its scheduler, as its pipeline saves it."""
    import diffusers

    torch.manual_seed(0)
    network = diffusers.SD3Transformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=3,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=6,
        caption_projection_dim=16,
        pooled_projection_dim=5,
        out_channels=3,
        pos_embed_max_size=4,
    )
    return _saved(folder, network, diffusers.FlowMatchEulerDiscreteScheduler(), "StableDiffusion3Pipeline")


def saved_flux(folder: Path) -> Path:
    """A transformer of tokens with dynamic shifting, beside its autoencoder, as a pipeline of Flux saves it."""
    import diffusers

    torch.manual_seed(0)
    network = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=6,
        pooled_projection_dim=5,
        axes_dims_rope=(4, 4, 8),
    )
    autoencoder = diffusers.AutoencoderKL(
        block_out_channels=(8,),
        latent_channels=1,
        norm_num_groups=4,
        sample_size=8,
        scaling_factor=0.5,
        shift_factor=0.1,
    )
    autoencoder.save_pretrained(folder / "vae")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    return _saved(folder, network, scheduler, "FluxPipeline")


def _saved(folder: Path, network: nn.Module, scheduler: object, pipeline: str) -> Path:
    network.save_pretrained(folder / "transformer")
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    return folder


def saved_prompt(file: Path) -> Path:
    """Embeddings of a prompt, whose text encoder ran elsewhere."""
    from safetensors.torch import save_file

    draws = torch.Generator().manual_seed(1)
    prompt = {"encoder_hidden_states": (1, 3, 6), "pooled_projections": (1, 5)}
    save_file({name: torch.randn(shape, generator=draws) for name, shape in prompt.items()}, file)
    return file
