"""A diffusion model under pairs of conditions: which condition a seed has, and which denoiser."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from theodolite.data.conditions import Prompted, prompts_of, text_of, value_of
from theodolite.errors import InputError


class Model:
    """Ends at its condition, or at 0 without one."""

    shape = (2,)

    def __call__(self, x, sigma, condition=None):
        return torch.full_like(x, condition or 0.0)


X = torch.ones(1, 2)


def test_seeds_take_the_pairs_in_turn():
    prompted = Prompted(Model(), [(1, 2), (3, 4)])
    assert prompted.name == "Model"
    assert [prompted.condition(seed, "unusual") for seed in range(3)] == [2, 4, 2]
    assert prompted.condition(1, None) == 3
    assert prompted.sides(0.0) == (None,)
    assert prompted.sides(2.0) == ("normal", "unusual")


@pytest.mark.parametrize(("guidance", "value"), [(0.0, 0.0), (1.0, 4.0), (2.0, 8.0)])
def test_its_denoiser_is_guided_by_the_condition_of_the_seed(guidance, value):
    denoised = Prompted(Model(), [(1, 2), (3, 4)]).denoiser(1, "unusual", guidance)(X, 1.0)
    torch.testing.assert_close(denoised, torch.full_like(X, value))


def test_a_model_without_conditions_is_taken_bare_or_not_at_all():
    bare = Prompted(Model(), None, bare=True)
    assert (bare.pairs, bare.sides(1.0), bare.condition(0, None)) == ([], (None,), None)
    torch.testing.assert_close(bare.denoiser(0, None, 1.0)(X, 1.0), torch.zeros_like(X))
    with pytest.raises(InputError, match="names none held out"):
        Prompted(Model(), None)
    assert Prompted(Model(), "1/2", bare=True).pairs == [(1, 2)]


def test_files_of_embeddings_are_conditions(tmp_path):
    cat, odd = (str(tmp_path / "a" / f"{name}.safetensors") for name in ("cat", "odd"))
    (tmp_path / "a").mkdir()
    save_file({"text": torch.full((1, 2, 3), 4.0)}, cat)
    save_file({"encoder_hidden_states": torch.ones(1, 2, 3), "pooled_projections": torch.ones(1, 5)}, odd)
    text = f"{cat}/{odd},3-red/3-yellow"  # paths hold slashes too
    pairs = prompts_of(None, text)
    assert pairs == [(cat, odd), ((3, "red"), (3, "yellow"))]
    assert text_of(pairs) == text
    torch.testing.assert_close(value_of(cat), torch.full((1, 2, 3), 4.0))
    assert value_of(odd).keys() == {"encoder_hidden_states", "pooled_projections"}
    assert value_of((3, "red")) == value_of("3-red") == (3, "red")


def test_a_file_that_is_none_is_refused_before_a_model_is_opened(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    for name, message in (("cut", "a safetensors file of embeddings expected"), ("gone", "gone")):
        with pytest.raises(InputError, match=message):
            prompts_of(None, f"{tmp_path}/{name}.safetensors/{tmp_path}/{name}.safetensors")


def test_guidance_starts_from_the_condition_that_is_given():
    prompted = Prompted(Model(), [(1, 2)], unconditional="5")
    assert float(prompted.denoiser(0, "normal", 0.0)(X, 1.0)[0, 0]) == 5.0
    assert float(prompted.denoiser(0, "normal", 2.0)(X, 1.0)[0, 0]) == 5.0 + 2.0 * (1.0 - 5.0)
    assert prompted.knows_start()
