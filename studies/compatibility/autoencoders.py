"""Tiny autoencoders of diffusers: the least configuration of each class that encodes images."""

from __future__ import annotations

from typing import Any

_PAIR = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
_SMALL = {**_PAIR, "block_out_channels": (8, 16), "norm_num_groups": 4}
_DC = {
    "latent_channels": 4,
    "attention_head_dim": 2,
    "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
    "decoder_block_types": ("ResBlock", "EfficientViTBlock"),
    "encoder_block_out_channels": (8, 8),
    "decoder_block_out_channels": (8, 8),
    "encoder_layers_per_block": (1, 1),
    "decoder_layers_per_block": (1, 1),
    "encoder_qkv_multiscales": ((), (5,)),
    "decoder_qkv_multiscales": ((), (5,)),
    "downsample_block_type": "Conv",
    "upsample_block_type": "interpolate",
    "scaling_factor": 0.41407,
}
_LTX = {
    "latent_channels": 8,
    "block_out_channels": (8, 8, 8, 8),
    "decoder_block_out_channels": (8, 8, 8, 8),
    "layers_per_block": (1, 1, 1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1, 1, 1),
    "spatio_temporal_scaling": (True, True, False, False),
    "decoder_spatio_temporal_scaling": (True, True, False, False),
}
_COMPACT = {"layers_per_block": 1, "latent_channels": 4}
_WAN = {"base_dim": 8, "z_dim": 16, "dim_mult": [1, 1], "num_res_blocks": 1, "temperal_downsample": [False]}
_HUNYUAN = {
    **_COMPACT,
    "block_out_channels": (16, 16, 16),
    "spatial_compression_ratio": 4,
    "temporal_compression_ratio": 2,
}

AUTOENCODERS: dict[str, dict[str, Any]] = {
    "AutoencoderKL": _SMALL,
    "AutoencoderTiny": {
        "encoder_block_out_channels": (8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8),
        "num_encoder_blocks": (1, 1, 1),
        "num_decoder_blocks": (1, 1, 1),
    },
    "AutoencoderDC": _DC,
    "AsymmetricAutoencoderKL": {
        **_PAIR,
        "down_block_out_channels": (8, 8),
        "up_block_out_channels": (8, 8),
        "norm_num_groups": 4,
    },
    "VQModel": _SMALL,
    "AutoencoderKLFlux2": {**_SMALL, "latent_channels": 4},
    "AutoencoderKLHunyuanImage": {
        **_COMPACT,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": (32, 64),
        "spatial_compression_ratio": 2,
        "sample_size": 32,
        "scaling_factor": 0.75,
    },
    "AutoencoderKLTemporalDecoder": {
        **_COMPACT,
        "block_out_channels": (32, 64),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
    },
    "AutoencoderKLKVAE": {"channels": 32, "num_enc_blocks": 1, "num_dec_blocks": 1, "z_channels": 4, "ch_mult": (1, 2)},
    "AutoencoderKLWan": _WAN,
    "AutoencoderKLQwenImage": {**_WAN, "base_dim": 16},
    "AutoencoderKLQwenImage21": {
        **_WAN,
        "base_dim": 16,
        "decoder_base_dim": 16,
        "z_dim": 64,
    },
    "AutoencoderKLCogVideoX": {
        **_COMPACT,
        "down_block_types": ("CogVideoXDownBlock3D",) * 4,
        "up_block_types": ("CogVideoXUpBlock3D",) * 4,
        "block_out_channels": (8, 8, 8, 8),
        "norm_num_groups": 2,
    },
    "AutoencoderKLCosmos": {
        "encoder_block_out_channels": (8, 8, 8, 8),
        "decode_block_out_channels": (8, 8, 8, 8),
        "attention_resolutions": (8,),
        "resolution": 64,
    },
    "AutoencoderKLHunyuanVideo": {**_COMPACT, "block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4},
    "AutoencoderKLHunyuanVideo15": _HUNYUAN,
    "AutoencoderKLHunyuanImageRefiner": _HUNYUAN,
    "AutoencoderKLLTXVideo": _LTX,
    "AutoencoderKLLTX2Video": {
        "latent_channels": 8,
        "block_out_channels": (16, 32, 64, 128),
        "decoder_block_out_channels": (16, 32, 64),
        "layers_per_block": (1,) * 5,
        "decoder_layers_per_block": (1,) * 4,
    },
    "AutoencoderKLMagvit": {**_COMPACT, "block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4},
    "AutoencoderKLMochi": {
        "encoder_block_out_channels": (32, 32, 32, 32),
        "decoder_block_out_channels": (32, 32, 32, 32),
        "layers_per_block": (1, 1, 1, 1, 1),
    },
    "AutoencoderKLKVAEVideo": {
        "ch": 32,
        "ch_mult": (1, 2),
        "num_res_blocks": 1,
        "z_channels": 4,
        "temporal_compress_times": 2,
    },
    "Kandinsky6SRVAE": {
        **_COMPACT,
        "encoder_block_out_channels": (16, 32),
        "decoder_block_out_channels": (16, 32),
        "temporal_compression_ratio": 2,
        "temporal_compression_start_level": 0,
    },
    "AutoencoderRAE": {
        "encoder_hidden_size": 64,
        "encoder_num_hidden_layers": 1,
        "decoder_hidden_size": 32,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 64,
        "patch_size": 8,
        "encoder_input_size": 56,
    },
}
