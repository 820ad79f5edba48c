"""Traverses against closed forms: linear decoders and Gaussian data; invariances, intervals, resuming, refusals."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from theodolite.derivatives import SelfCheck
from theodolite.descriptors import EFFORTS, local_complexity
from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.experiments.traverse.sources import OverCorruptions
from theodolite.maps import Autoencoder, Denoiser, karras_levels
from theodolite.runs import read_run
from theodolite.runs.functions import function_of

D = torch.float64
traverse = function_of("traverse")
STRETCH = torch.tensor([3.0, 2.0, 1.0, 0.5], dtype=D)


class Decoder(torch.nn.Module):
    """Four stretches, then a rectifier that is always on (a large offset) or has its kink at zero."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, z):
        s = STRETCH.to(z)[:, None, None]
        return torch.relu(s * z + self.offset) - self.offset


def model(offset: float = 100.0) -> Autoencoder:
    """Means over the quarters of a grey image as latents `(4, 1, 1)`, and four stretches."""
    encode = torch.nn.AdaptiveAvgPool2d(2)
    return Autoencoder(
        lambda x: encode(x).reshape(len(x), 4, 1, 1),
        Decoder(offset).eval(),
        name="linear",
        latent_shape=(4, 1, 1),
        image_channels=1,
        image_size=(32, 32),
        downsampling=32,
    )


@pytest.fixture
def anchors(tmp_path):
    """Three latents that span a plane."""
    g = torch.Generator().manual_seed(0)
    files = [str(tmp_path / f"{place}.safetensors") for place in range(3)]
    for file in files:
        save_file({"latent": torch.randn(4, 1, 1, generator=g, dtype=D)}, file)
    return files


def cells(run, quantity):
    return [row for row in run.rows(quantity) if row["unit"] != "anchors"]


def values(rows):
    return torch.tensor([row["value"] for row in rows], dtype=D)


def test_a_linear_decoder_is_the_same_all_over_the_plane(anchors, tmp_path):
    found = traverse("plane", model(), tmp_path / "run", anchor=anchors, grid=4)
    share = STRETCH / STRETCH.sum()
    expected = {"local_scaling": STRETCH.log().sum(), "local_rank": (-(share * share.log()).sum()).exp()}
    for name, value in expected.items():
        for rows, count in ((cells(found, name), 16), (found.rows(name, unit="anchors"), 3)):
            torch.testing.assert_close(values(rows), value.expand(count).to(D))
    rows = cells(found, "local_complexity")
    assert {(row["value"], row["status"]) for row in rows} == {(0.0, "undetermined")}  # fewer than one unit is cut
    assert {row["n"] for row in found.rows("local_scaling")} == {1}
    places = torch.linspace(-0.25, 1.25, 4, dtype=D).tolist()
    assert [(row["a"], row["b"]) for row in cells(found, "local_rank")] == [(a, b) for b in places for a in places]
    assert found.rows(unit=None) == []  # the points of a plane speak for themselves


def test_complexity_has_one_radius_all_over_the_plane(anchors, tmp_path):
    found = traverse("plane", model(0.0), tmp_path / "run", anchor=anchors, grid=2, margin=0.0)
    z = torch.stack([load_file(file)["latent"] for file in anchors])
    radius = 0.02 * z.square().mean((1, 2, 3)).sqrt().mean() * 2 / z.flatten(1).norm(dim=1)
    for place, part in enumerate(radius.tolist()):
        seed = list(Seeds(0, 1).base)
        effort = replace(EFFORTS["quick"], axes=4)
        one = local_complexity(model(0.0).decoder, z[place][None], radius=part, generator=seed, effort=effort)
        row = found.rows("local_complexity", unit="anchors")[place]
        assert row["value"] == pytest.approx(one.value.item())


def test_exchanged_anchors_transpose_the_plane(anchors, tmp_path):
    found = [
        traverse("plane", model(0.0), tmp_path / str(place), anchor=order, grid=3, margin=0.5)
        for place, order in enumerate((anchors, [anchors[0], anchors[2], anchors[1]]))
    ]
    for name in ("local_scaling", "local_rank", "local_complexity", "null_dimension"):
        one, other = (values(cells(run, name)).reshape(3, 3) for run in found)
        torch.testing.assert_close(one.T, other, equal_nan=True)
    assert values(cells(found[0], "null_dimension")).unique().numel() > 1  # the kink is somewhere on this plane


class Gaussian:
    """The denoiser of independent normal data with these deviations: `D(x) = x s² / (s² + sigma²)`."""

    deviations = torch.tensor([2.0, 1.0, 0.5], dtype=D)
    shape = (3,)
    name = "gaussian"
    conditions = (0, 1)

    def __call__(self, x, sigma, condition=None):
        s = self.deviations * (1 + (condition or 0))
        return x * s**2 / (s**2 + sigma**2)

    def levels(self, steps):
        return karras_levels(steps, 0.1, 10.0)


def test_a_gaussian_denoiser_has_its_known_spectrum_along_the_way(tmp_path):
    found = traverse("denoising", Gaussian(), tmp_path / "run", guidance=[1], steps=4, seeds=2)
    assert len(found.info["design"]["levels"]) == 5
    for output in ("x0", "eps"):
        for row in found.rows(measure="mean", output=output):
            s, sigma = Gaussian.deviations, row["level"]
            singular = s**2 / (s**2 + sigma**2) if output == "x0" else sigma / (s**2 + sigma**2)
            share = singular / singular.sum()
            known = {"local_scaling": singular.log().sum(), "local_rank": (-(share * share.log()).sum()).exp()}
            if row["quantity"] in known:
                assert row["value"] == pytest.approx(float(known[row["quantity"]]), rel=1e-6)
                assert row["stderr"] < 1e-6
                assert (row["n"], row["side"]) == (2, "none")
    (delta,) = {row["status"] for row in found.rows("local_complexity", measure=None)}
    assert delta == "undefined"  # no activation with a kink


def test_guidance_mixes_both_jacobians_and_sides_are_told_apart(tmp_path):
    settings = {"guidance": [0, 1, 3.23456789], "conditions": [(0, 1)], "steps": 2, "seeds": 3, "output": ["x0"]}
    found = traverse("denoising", Gaussian(), tmp_path / "run", **settings)
    assert found.settings["conditions"] == "0/1"
    sigma = found.info["design"]["levels"][0]
    c, u = ((w * Gaussian.deviations) ** 2 for w in (2, 1))
    one, nothing = c / (c + sigma**2), u / (u + sigma**2)
    for guidance in (1.0, 3.23456789):  # not rounded to six digits on the way
        expected = (nothing + guidance * (one - nothing)).log().sum()
        (row,) = found.rows("local_scaling", measure="mean", guidance=guidance, side="unusual", step=0)
        assert row["value"] == pytest.approx(float(expected), rel=1e-6)
        (row,) = found.rows("local_scaling", measure="auroc", guidance=guidance, step=0)
        assert (row["value"], row["n"]) == (1.0, 3)
        assert row["low"] < 0.6  # three pairs say little, however clear
    (gap,) = values(found.rows("condition_norm", seed=0, step=0, side="unusual", guidance=3.23456789)).tolist()
    x = sigma * Seeds([Seeds(0, 3).base[0]], 1).normal("noise", 3)[0]
    assert gap == pytest.approx(float(((one - nothing) * x / sigma).norm()), rel=1e-6)
    (row,) = found.rows("local_scaling", measure="mean", guidance=0.0, step=0)
    assert (row["side"], row["value"]) == ("none", pytest.approx(float(nothing.log().sum()), rel=1e-6))


def class_conditional():
    """A UNet of ten classes and one for none, as people train them for guidance."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (8,)}
    network = diffusers.UNet2DModel(4, 3, 3, layers_per_block=1, norm_num_groups=4, num_class_embeds=11, **blocks)
    return Denoiser(network.eval(), schedule=diffusers.DDPMScheduler(1000), name="classes")


def named_conditions():
    """A `Denoiser` of a callable, whose conditions are any objects."""
    return Denoiser(Gaussian(), condition=3, name="callable")


@pytest.mark.parametrize(("made", "more"), [(class_conditional, {"unconditional": "10"}), (named_conditions, {})])
def test_any_conditional_model_is_followed_under_guidance(tmp_path, made, more):
    settings = {"guidance": [0, 2], "conditions": "1/2", "steps": 1, "seeds": 2, "output": ["x0"], **more}
    run = traverse("denoising", made(), tmp_path / "run", **settings)
    assert run.status == "complete"
    assert {row["guidance"] for row in run.rows("local_scaling", measure=None)} == {0.0, 2.0}
    assert {row["status"] for row in run.rows("condition_norm", measure=None)} == {"ok"}


def test_guidance_without_what_it_starts_from_is_refused_before_anything_is_measured(tmp_path):
    settings = {"conditions": "1/2", "steps": 1, "seeds": 2, "output": ["x0"]}
    with pytest.raises(InputError, match="`unconditional` expected, which guidance 4 starts from"):
        traverse("denoising", class_conditional(), tmp_path / "run", guidance=[1, 4], **settings)
    assert not (tmp_path / "run" / "run.json").exists()
    run = traverse("denoising", class_conditional(), tmp_path / "run", guidance=[1], **settings)
    assert run.rows("score_norm")
    assert "condition_norm" not in run.quantities  # how far a condition moves is unknown


def test_a_model_that_fails_when_it_is_opened_is_named(tmp_path):
    class Broken(Gaussian):
        def __call__(self, x, sigma, condition=None):
            raise ValueError("no weights")

    with pytest.raises(InputError, match=r"^gaussian could not be opened \(ValueError: no weights\)"):
        traverse("denoising", Broken(), tmp_path / "run", conditions="0/1")


def photographs(folder, tiny):
    return tiny.write_images(folder, 5, 32)


def test_corruptions_change_nothing_of_a_linear_decoder(tiny, tmp_path):
    found = traverse("corruptions", model(), tmp_path / "run", data=photographs(tmp_path / "photos", tiny), limit=None)
    assert "--limit 0 " in found.info["command"]
    for name in ("local_scaling", "local_rank"):
        changes = found.rows(name, measure="change")
        assert len(changes) == 6 * 4
        assert max(abs(row["value"]) for row in changes) < 1e-6
        for measure in ("sensitivity", "rank_correlation"):
            assert {row["status"] for row in found.rows(name, measure=measure)} == {"undefined"}
    energy = [row["value"] for row in found.rows("pixel_energy", measure="change", corruption="contrast")]
    assert energy == sorted(energy, reverse=True)
    assert energy[-1] < 0
    (one,) = found.rows("pixel_energy", measure="rank_correlation", corruption="contrast")
    assert (one["value"], one["low"]) == (-1.0, -1.0)
    assert -1 < one["high"] < -0.9  # five photographs that agree
    assert {row["n"] for row in found.rows("pixel_energy", measure="change")} == {5}


def test_points_do_not_depend_on_their_group(tiny, tmp_path, monkeypatch):
    folder = photographs(tmp_path / "photos", tiny)
    settings = {"corruption": ["jpeg"], "limit": 2, "size": 16}
    whole = traverse("corruptions", tiny.make(), tmp_path / "whole", data=folder, **settings)
    monkeypatch.setattr("theodolite.descriptors.groups.group_size", lambda *_: 2)
    parts = traverse("corruptions", tiny.make(), tmp_path / "parts", data=folder, **settings)
    for one, other in zip(whole.rows(measure=None), parts.rows(measure=None), strict=True):
        assert [one[name] for name in ("image", "corruption", "severity")] == [
            other[name] for name in ("image", "corruption", "severity")
        ]
        assert one["value"] == pytest.approx(other["value"], rel=1e-5, nan_ok=True)


def test_intervals_of_sensitivities_and_correlations_hold_the_truth():
    """Images whose quantity moves by 0.5 ± 0.3 a step of severity, clean ones spread by 2: sensitivity 0.25 a step."""
    scores = []
    for seed in range(200):
        g = torch.Generator().manual_seed(seed)
        points = []
        for image in range(10):
            clean = 2 * torch.randn(1, generator=g, dtype=D).item()
            steps = 0.5 * torch.arange(3) + 0.3 * torch.randn(3, generator=g, dtype=D)
            for severity, step in enumerate((steps - steps[0] * (torch.arange(3) == 0)).tolist()):
                kind = "jpeg" if severity else None
                points.append(
                    {"corruption": kind, "severity": severity, "image": str(image), "source": str(image)}
                    | {"quantity": "x", "value": clean + step, "stderr": 0.0, "n": 1, "passes": 1, "status": "ok"}
                )
        (row,) = [
            r for r in OverCorruptions.summaries(points) if (r["measure"], r.get("severity")) == ("sensitivity", 2)
        ]
        scores.append((row["value"] - 0.5) / row["stderr"])
    z = torch.tensor(scores)
    assert abs(z.mean().item()) < 0.25
    assert 0.7 < z.std().item() < 1.3


def stopped_after(units):
    """A progress that interrupts once so many units are done."""

    def stop(done, total, what):
        if done == units and what:
            raise KeyboardInterrupt

    return stop


def test_an_interrupted_run_is_there_and_goes_on(anchors, tmp_path):
    given = ("plane", model(), tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        traverse(*given, anchor=anchors, grid=3, progress=stopped_after(2))
    kept = read_run(tmp_path / "run")
    assert kept.status == "interrupted"
    assert len(kept.rows("local_rank")) == 3 + 3
    done = []
    found = traverse(*given, anchor=anchors, grid=3, progress=lambda *step: done.append(step[0]))
    assert done[0] == 2
    assert found.status == "complete"
    whole = traverse("plane", model(), tmp_path / "whole", anchor=anchors, grid=3)
    assert found.table.equals(whole.table)
    with pytest.raises(InputError, match=r"another configuration \(grid 3 there, 4 here\)"):
        traverse(*given, anchor=anchors, grid=4)
    with pytest.raises(InputError, match=r"another configuration \(another anchors\)"):
        traverse(*given, anchor=[*anchors[:2], "seed:3"], grid=3)
    with pytest.raises(InputError, match="another configuration"):
        traverse("plane", model(3.0), tmp_path / "run", anchor=anchors, grid=3)
    command = json.loads((tmp_path / "run" / "run.json").read_text())["command"]
    assert command.startswith("theodolite traverse plane linear --anchor ")
    assert "guidance" not in command


def test_every_design_goes_on_to_equal_tables(tiny, tmp_path):
    folder = photographs(tmp_path / "photos", tiny)
    designs = {
        "denoising": (Gaussian(), {"conditions": "0/1", "guidance": [0, 2], "steps": 2, "seeds": 3}),
        "corruptions": (model(), {"data": folder, "corruption": ["jpeg"], "limit": 3}),
    }
    for over, (subject, settings) in designs.items():
        with pytest.raises(KeyboardInterrupt):
            traverse(over, subject, tmp_path / over, progress=stopped_after(2), **settings)
        again = traverse(over, subject, tmp_path / over, **settings)
        whole = traverse(over, subject, tmp_path / f"{over}-whole", **settings)
        assert str(again.table.to_pylist()) == str(whole.table.to_pylist())  # NaN is NaN
        assert len(again.info["sittings"]) == 2


def test_wrong_derivatives_leave_what_does_not_rest_on_them(tiny, tmp_path, monkeypatch):
    wrong = SelfCheck(False, "float64", "linearised", 1.0, 0.0, None, True, True, "wrong by 1", first_order_holds=False)
    monkeypatch.setattr("theodolite.derivatives.self_check", lambda map, point: wrong)
    folder = photographs(tmp_path / "photos", tiny)
    found = traverse("corruptions", model(), tmp_path / "run", data=folder, corruption=["contrast"], limit=2)
    assert {row["status"] for row in found.rows("local_rank", measure=None)} == {"undetermined"}
    assert {row["status"] for row in found.rows("local_rank", measure="change")} == {"undefined"}
    assert {row["status"] for row in found.rows("pixel_energy", measure=None)} == {"ok"}


def test_an_image_that_was_replaced_is_that_images_failure(tiny, tmp_path):
    folder = photographs(tmp_path / "photos", tiny)

    def replace_the_last(done, total, what):
        if done == 1 and what:
            (folder / "02.png").write_bytes((folder / "00.png").read_bytes())

    settings = {"data": folder, "corruption": ["contrast"], "progress": replace_the_last}
    found = traverse("corruptions", model(), tmp_path / "run", **settings)
    assert found.units == ["00", "01", "03", "04"]
    (failure,) = found.info["failed"]
    assert failure["unit"] == "02"
    assert "another image" in failure["reason"]


@pytest.mark.parametrize(
    ("over", "settings", "message"),
    [
        ("planes", {}, "did you mean 'plane'"),
        ("plane", {"corruption": ["jpeg"]}, "`corruption` belongs to another design, got it with plane"),
        ("plane", {"limit": 3}, "`limit` belongs to another design"),
        ("denoising", {"grid": 3}, "`grid` belongs to another design"),
        ("corruptions", {"guidance": [1]}, "`guidance` belongs to another design"),
        ("corruptions", {}, "`data` expected"),
    ],
)
def test_settings_belong_to_their_design(tmp_path, over, settings, message):
    with pytest.raises(InputError, match=message):
        traverse(over, "zoo:digits", tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"anchor": ["seed:1", "seed:2"]}, "three anchors expected, got 2"),
        ({"anchor": ["seed:1", "seed:2", "seed:2"]}, "are the same"),
        ({"grid": 1}, "`grid` expected"),
        ({"margin": -1}, "`margin` expected"),
        ({"margin": math.nan}, "`margin` expected"),
        ({"budget": "ful"}, "did you mean 'full'"),
    ],
)
def test_planes_refuse_before_anything_is_written(tmp_path, settings, message):
    given = {"anchor": ["seed:1", "seed:2", "seed:3"], **settings}
    with pytest.raises(InputError, match=message):
        traverse("plane", model(), tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_anchors_on_a_line_are_refused(anchors, tmp_path):
    one, other = (load_file(file)["latent"] for file in anchors[:2])
    save_file({"latent": 2 * other - one}, anchors[2])
    with pytest.raises(InputError, match="on one line"):
        traverse("plane", model(), tmp_path / "run", anchor=anchors)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance": [0, 2]}, "conditions expected, since this model names none"),
        ({"guidance": [-1]}, "`guidance` expected to be a finite number, 0 or more"),
        ({"guidance": [1, 1]}, "one or more different"),
        ({"guidance": [2, 2.0000001]}, "one or more different"),
        ({"guidance": []}, "one or more different"),
        ({"output": ["x1"]}, "`output` expected to be one of x0, eps, v, score"),
        ({"output": ["x0", "x0"]}, "`output` expected one or more different"),
        ({"conditions": "red"}, "a condition expected"),
        ({"seeds": 1}, "`seeds` expected"),
        ({"model": "zoo:digits"}, "`traverse denoising` measures diffusion models"),
    ],
)
def test_denoising_refuses_before_anything_is_written(tmp_path, settings, message):
    given = {"guidance": [1], **settings}
    with pytest.raises(InputError, match=message):
        traverse("denoising", given.pop("model", Gaussian()), tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corruption": ["fog"]}, "`corruption` expected to be one of gaussian_noise"),
        ({"corruption": []}, "one or more different"),
        ({"group": "^."}, "two sources or more"),
        ({"limit": 1}, "`limit` expected"),
        ({"model": "zoo:coloured-latent"}, "autoencoder"),
    ],
)
def test_corruptions_refuse_before_anything_is_written(tiny, tmp_path, settings, message):
    given = dict(settings)
    folder = photographs(tmp_path / "photos", tiny)
    with pytest.raises(InputError, match=message):
        traverse("corruptions", given.pop("model", model()), tmp_path / "run", data=folder, **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.real
def test_a_real_decoder_is_traversed(shared, tmp_path):
    photos = shared / "images" / "photos"
    anchor = [str(photos / f"{name}.png") for name in ("china_0128_0512", "flower_0128_0128", "coffee_0000_0000")]
    taesd = shared / "models" / "taesd"
    found = traverse("plane", taesd, tmp_path / "plane", anchor=anchor, grid=2, margin=0.0, size=16)
    scaling = values(cells(found, "local_scaling"))
    at_anchors = values(found.rows("local_scaling", unit="anchors"))
    torch.testing.assert_close(scaling[:3], at_anchors, rtol=1e-4, atol=1e-3)
    assert scaling.isfinite().all()
    assert all(row["value"] > 0 for row in cells(found, "local_complexity"))
    settings = {"data": photos, "corruption": ["gaussian_blur"], "limit": 2, "size": 16}
    worse = traverse("corruptions", taesd, tmp_path / "worse", **settings)
    assert {row["severity"] for row in worse.rows(measure="change")} == {1, 2, 3, 4}
