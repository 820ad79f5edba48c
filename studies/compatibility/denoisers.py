"""Tiny denoising networks of diffusers: the least configuration of a class, a condition, and the shape of a point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

TOKENS = 4
"""Tokens of a text."""
WIDTH = 16
"""Entries of a token of a text."""
SIDE = 8
"""Height and width of a latent."""


@dataclass(frozen=True)
class Network:
    """How a class is built small.

    Attributes:
        config: arguments of its constructor.
        shape: of one point.
        condition: what the network is told beside point and time, by argument; drawn anew at each call from a seed.
        scheduler: the class of its pipelines.
    """

    config: Mapping[str, Any]
    shape: tuple[int, ...] = (4, SIDE, SIDE)
    condition: Callable[[], dict[str, Any]] = field(default=dict)
    scheduler: str = "DDIMScheduler"


def normal(*shape: int) -> Tensor:
    """Standard normal numbers, the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def _text() -> dict[str, Any]:
    return {"encoder_hidden_states": normal(1, TOKENS, WIDTH)}


def _masked_text() -> dict[str, Any]:
    return {**_text(), "encoder_attention_mask": torch.ones(1, TOKENS, dtype=torch.bool)}


def _pooled_text() -> dict[str, Any]:
    return {**_text(), "pooled_projections": normal(1, WIDTH)}


def _sizes() -> dict[str, Any]:
    pixels = torch.tensor([[64.0, 64.0]])
    return {**_text(), "original_size": pixels, "target_size": pixels, "crop_coords": torch.zeros(1, 2)}


_HEADS = {"num_attention_heads": 2, "attention_head_dim": 16}
_TOKENS = (SIDE * SIDE // 4, 8)
_FLOW = "FlowMatchEulerDiscreteScheduler"
_DOUBLE_STREAM = {
    **_HEADS,
    "in_channels": 8,
    "num_layers": 1,
    "num_single_layers": 1,
    "joint_attention_dim": WIDTH,
    "axes_dims_rope": (4, 6, 6),
}
_COGVIEW = {
    **_HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 1,
    "text_embed_dim": WIDTH,
    "time_embed_dim": 16,
    "condition_dim": 8,
    "pos_embed_max_size": SIDE,
    "sample_size": SIDE,
}
_UNET = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1}

NETWORKS: dict[str, Network] = {
    "UNet2DModel": Network(
        {
            **_UNET,
            "sample_size": SIDE,
            "in_channels": 3,
            "out_channels": 3,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        },
        shape=(3, SIDE, SIDE),
        scheduler="DDPMScheduler",
    ),
    "UNet2DConditionModel": Network(
        {
            **_UNET,
            "sample_size": SIDE,
            "cross_attention_dim": WIDTH,
            "attention_head_dim": 4,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        },
        condition=_text,
    ),
    "Kandinsky3UNet": Network(
        {
            "time_embedding_dim": 16,
            "groups": 4,
            "attention_head_dim": 8,
            "layers_per_block": 2,
            "block_out_channels": (16, 16),
            "cross_attention_dim": WIDTH,
            "encoder_hid_dim": WIDTH,
        },
        condition=_masked_text,
    ),
    "StableCascadeUNet": Network(
        {
            "in_channels": 4,
            "out_channels": 4,
            "timestep_ratio_embedding_dim": 16,
            "conditioning_dim": WIDTH,
            "block_out_channels": (16, 16),
            "num_attention_heads": (2, 2),
            "down_num_layers_per_block": (1, 1),
            "up_num_layers_per_block": (1, 1),
            "clip_text_in_channels": WIDTH,
            "clip_text_pooled_in_channels": WIDTH,
            "clip_image_in_channels": WIDTH,
        },
        condition=lambda: {
            "clip_text_pooled": normal(1, 1, WIDTH),
            "clip_text": normal(1, TOKENS, WIDTH),
            "clip_img": normal(1, 1, WIDTH),
        },
        scheduler="DDPMWuerstchenScheduler",
    ),
    "DiTTransformer2DModel": Network(
        {**_HEADS, "num_layers": 1, "sample_size": SIDE, "num_embeds_ada_norm": 10, "in_channels": 4},
        condition=lambda: {"class_labels": torch.tensor([3])},
    ),
    "Transformer2DModel": Network(
        {
            **_HEADS,
            "in_channels": 4,
            "num_layers": 1,
            "sample_size": SIDE,
            "patch_size": 2,
            "norm_type": "ada_norm_zero",
            "num_embeds_ada_norm": 10,
            "norm_num_groups": 2,
        },
        condition=lambda: {"class_labels": torch.tensor([3])},
    ),
    "PixArtTransformer2DModel": Network(
        {
            **_HEADS,
            "num_layers": 1,
            "sample_size": SIDE,
            "cross_attention_dim": 32,
            "caption_channels": WIDTH,
            "use_additional_conditions": False,
        },
        condition=_text,
    ),
    "HunyuanDiT2DModel": Network(
        {
            **_HEADS,
            "in_channels": 4,
            "patch_size": 2,
            "sample_size": SIDE,
            "hidden_size": 32,
            "num_layers": 2,
            "cross_attention_dim": WIDTH,
            "cross_attention_dim_t5": WIDTH,
            "pooled_projection_dim": WIDTH,
            "text_len": TOKENS,
            "text_len_t5": TOKENS,
            "use_style_cond_and_image_meta_size": False,
        },
        condition=lambda: {
            **_text(),
            "text_embedding_mask": torch.ones(1, TOKENS, dtype=torch.int64),
            "encoder_hidden_states_t5": normal(1, TOKENS, WIDTH),
            "text_embedding_mask_t5": torch.ones(1, TOKENS, dtype=torch.int64),
        },
        scheduler="DDPMScheduler",
    ),
    "SD3Transformer2DModel": Network(
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 1,
            "sample_size": SIDE,
            "joint_attention_dim": WIDTH,
            "caption_projection_dim": 32,
            "pooled_projection_dim": WIDTH,
            "pos_embed_max_size": SIDE,
        },
        condition=_pooled_text,
        scheduler=_FLOW,
    ),
    "AuraFlowTransformer2DModel": Network(
        {
            **_HEADS,
            "sample_size": SIDE,
            "num_mmdit_layers": 1,
            "num_single_dit_layers": 1,
            "joint_attention_dim": WIDTH,
            "caption_projection_dim": 32,
            "pos_embed_max_size": SIDE * SIDE,
        },
        condition=_text,
        scheduler=_FLOW,
    ),
    "FluxTransformer2DModel": Network(
        {**_DOUBLE_STREAM, "pooled_projection_dim": WIDTH}, shape=_TOKENS, condition=_pooled_text, scheduler=_FLOW
    ),
    "Flux2Transformer2DModel": Network(
        {**_DOUBLE_STREAM, "axes_dims_rope": (4, 4, 4, 4), "guidance_embeds": False, "timestep_guidance_channels": 16},
        shape=_TOKENS,
        condition=_text,
        scheduler=_FLOW,
    ),
    "Flux3Transformer2DModel": Network(
        {**_DOUBLE_STREAM, "axes_dims_rope": (4, 4, 4, 4), "cond_in_channels": 8, "timestep_channels": 16},
        shape=_TOKENS,
        condition=_text,
        scheduler=_FLOW,
    ),
    "ChromaTransformer2DModel": Network(
        {
            **_DOUBLE_STREAM,
            "approximator_num_channels": 8,
            "approximator_hidden_dim": 16,
            "approximator_layers": 1,
        },
        shape=_TOKENS,
        condition=_text,
        scheduler=_FLOW,
    ),
    "BriaTransformer2DModel": Network(_DOUBLE_STREAM, shape=_TOKENS, condition=_text, scheduler=_FLOW),
    "BriaFiboTransformer2DModel": Network(
        {**_DOUBLE_STREAM, "text_encoder_dim": WIDTH // 2},
        shape=_TOKENS,
        condition=lambda: {**_text(), "text_encoder_layers": [normal(1, TOKENS, WIDTH // 2)] * 2},
        scheduler=_FLOW,
    ),
    "OvisImageTransformer2DModel": Network(
        {**_DOUBLE_STREAM, "out_channels": 8}, shape=_TOKENS, condition=_text, scheduler=_FLOW
    ),
    "LongCatImageTransformer2DModel": Network(
        {**_DOUBLE_STREAM, "pooled_projection_dim": WIDTH}, shape=_TOKENS, condition=_text, scheduler=_FLOW
    ),
    "QwenImageTransformer2DModel": Network(
        {
            **_HEADS,
            "patch_size": 2,
            "in_channels": 8,
            "out_channels": 2,
            "num_layers": 1,
            "joint_attention_dim": WIDTH,
            "axes_dims_rope": (4, 6, 6),
        },
        shape=_TOKENS,
        condition=lambda: {
            **_text(),
            "encoder_hidden_states_mask": torch.ones(1, TOKENS, dtype=torch.bool),
            "img_shapes": [[(1, SIDE // 2, SIDE // 2)]],
        },
        scheduler=_FLOW,
    ),
    "SanaTransformer2DModel": Network(
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 1,
            "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 16,
            "cross_attention_dim": 32,
            "caption_channels": WIDTH,
            "sample_size": SIDE,
        },
        condition=_text,
        scheduler=_FLOW,
    ),
    "Lumina2Transformer2DModel": Network(
        {
            "sample_size": SIDE,
            "in_channels": 4,
            "hidden_size": 32,
            "num_layers": 1,
            "num_refiner_layers": 1,
            "num_attention_heads": 2,
            "num_kv_heads": 1,
            "multiple_of": 16,
            "axes_dim_rope": (4, 6, 6),
            "axes_lens": (64, 32, 32),
            "cap_feat_dim": WIDTH,
        },
        condition=_masked_text,
        scheduler=_FLOW,
    ),
    "CogView3PlusTransformer2DModel": Network(_COGVIEW, condition=_sizes),
    "CogView4Transformer2DModel": Network({**_COGVIEW, "rope_axes_dim": (32, 32)}, condition=_sizes, scheduler=_FLOW),
    "PRXTransformer2DModel": Network(
        {
            "in_channels": 4,
            "context_in_dim": WIDTH,
            "hidden_size": 32,
            "num_heads": 2,
            "depth": 1,
            "axes_dim": (8, 8),
        },
        condition=_text,
        scheduler=_FLOW,
    ),
    "HunyuanImageTransformer2DModel": Network(
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 1,
            "num_single_layers": 1,
            "num_refiner_layers": 1,
            "text_embed_dim": WIDTH,
            "rope_axes_dim": (8, 8),
        },
        condition=_masked_text,
        scheduler=_FLOW,
    ),
    "ErnieImageTransformer2DModel": Network(
        {
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_layers": 1,
            "ffn_hidden_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "text_in_dim": WIDTH,
            "rope_axes_dim": (4, 6, 6),
        },
        condition=lambda: {"text_bth": normal(1, TOKENS, WIDTH), "text_lens": torch.tensor([TOKENS])},
        scheduler=_FLOW,
    ),
    "WanTransformer3DModel": Network(
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "text_dim": WIDTH,
            "freq_dim": 16,
            "ffn_dim": 32,
            "num_layers": 1,
            "rope_max_seq_len": 32,
        },
        shape=(4, 1, SIDE, SIDE),
        condition=_text,
        scheduler=_FLOW,
    ),
}
