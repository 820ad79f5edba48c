"""Decoders of diffusers with tiny random weights pass the self-check, and a trained one too."""

from __future__ import annotations

import importlib.util
import pathlib

import pytest
import torch

pytest.importorskip("diffusers")

from theodolite.derivatives import jacobian, second_derivative, self_check
from theodolite.maps.diffusers import from_diffusers

SPECIFICATION = importlib.util.spec_from_file_location(
    "tiny_decoders", pathlib.Path(__file__).parents[1] / "maps" / "test_diffusers.py"
)
TINY = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(TINY)

SMOOTH = (
    "AutoencoderKL",
    "AutoencoderKLWan",
    "AutoencoderKLQwenImage",
    "AutoencoderKLLTXVideo",
    "AutoencoderKLMagvit",
    "AutoencoderKLHunyuanVideo",
    "Kandinsky6SRVAE",
)


def decoder_and_latents(name):
    autoencoder = from_diffusers(TINY.tiny(name))
    return autoencoder.decoder, autoencoder.encode(TINY.noise(n=1, side=16)).detach()


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_decoders_pass_with_exact_second_derivatives(name):
    decoder, latents = decoder_and_latents(name)
    check = self_check(decoder, latents)
    assert check.passed, check.message
    assert (check.dtype, check.way, check.independent) == ("float64", "linearised", True)
    assert check.first_order < 1e-6  # what ends the search for a step
    assert check.second_order < 1e-5
    _, way = second_derivative(jacobian(decoder, latents), torch.randn(1, *latents.shape))
    assert way == "taylor"


def test_a_decoder_with_relu_attention_passes_with_a_remark():
    check = self_check(*decoder_and_latents("AutoencoderDC"))
    assert check.passed
    assert check.second_order is None or check.second_order < 1e-2


@pytest.mark.real
def test_a_trained_decoder_passes(shared):
    from theodolite import load

    autoencoder = load(str(shared / "models" / "taesd"))
    check = self_check(autoencoder.decoder, autoencoder.encode(TINY.noise(n=1, side=32)))
    assert check.passed, check.message
    assert check.dtype == "float64"
    assert check.first_order < 1e-6
