"""Models of the hub, from one that is made up: which files are asked for, what they are called, and how it fails."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import theodolite
from theodolite import InputError, sampler_map
from theodolite.maps import Autoencoder, Denoiser
from theodolite.maps.hub import fetch

diffusers = pytest.importorskip("diffusers")
huggingface_hub = pytest.importorskip("huggingface_hub")
FILE = "diffusion_pytorch_model.safetensors"
COMMIT = "0123abc"


def unet():
    return diffusers.UNet2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )


def vae():
    return diffusers.AutoencoderKL(
        block_out_channels=(8,),
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A pipeline with an autoencoder, and files that nobody needs."""
    folder = tmp_path_factory.mktemp("hub") / "pipe"
    torch.manual_seed(0)
    unet().save_pretrained(folder / "unet")
    unet().save_pretrained(folder / "unet", variant="fp16")
    vae().save_pretrained(folder / "vae")
    diffusers.DDIMScheduler().save_pretrained(folder / "scheduler")
    (folder / "text_encoder").mkdir()
    for name in ("unet/diffusion_pytorch_model.bin", "text_encoder/model.safetensors", "README.md"):
        (folder / name).write_text("large")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "Pipeline"}))
    return folder


@pytest.fixture
def repository(saved, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(saved, tmp_path / "remote")


@pytest.fixture
def hub(repository, tmp_path, monkeypatch):
    """A hub with one repository; the revision and the files that were asked for, download by download."""
    asked = []

    def model_info(self, name, **keywords):
        files = sorted(path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file())
        siblings = [huggingface_hub.hf_api.RepoSibling(rfilename=file) for file in files]
        return type("Info", (), {"siblings": siblings})()

    def snapshot_download(name, *, revision, allow_patterns):
        asked.append((revision, allow_patterns))
        for file in allow_patterns:
            (tmp_path / COMMIT / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repository / file, tmp_path / COMMIT / file)
        return str(tmp_path / COMMIT)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


NETWORK = ["unet/config.json", f"unet/{FILE}", "scheduler/scheduler_config.json", "vae/config.json", f"vae/{FILE}"]


def test_a_network_comes_with_its_scheduler_and_autoencoder_and_nothing_else(hub, repository):
    model = theodolite.load("owner/pipe", subfolder="unet", revision="v2")
    assert hub == [("v2", ["unet/config.json"]), ("v2", NETWORK)]
    assert isinstance(model, Denoiser)
    assert (model.name, model.source) == ("owner/pipe/unet", f"owner/pipe/unet@{COMMIT}")
    assert (model.autoencoder.name, model.autoencoder.source) == ("owner/pipe/vae", f"owner/pipe/vae@{COMMIT}")
    local = theodolite.load(repository, subfolder="unet")
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    maps = [sampler_map(one, 2, decode=one.autoencoder) for one in (model, local)]
    assert torch.equal(maps[0](noise), maps[1](noise))
    assert not any(weight.requires_grad for weight in model.net.parameters())


def test_a_pipeline_gives_its_autoencoder_and_without_one_its_network(hub, repository):
    found = theodolite.load("owner/pipe")
    assert isinstance(found, Autoencoder)
    assert (found.name, found.source) == ("owner/pipe/vae", f"owner/pipe/vae@{COMMIT}")
    assert hub == [(None, ["vae/config.json", f"vae/{FILE}"])]
    shutil.rmtree(repository / "vae")
    network = fetch("owner/pipe")
    assert network.subfolder == "unet"
    assert hub[-1] == (None, NETWORK[:3])


def test_a_network_at_the_root_has_its_scheduler_there(hub, repository):
    for name in ("config.json", FILE):
        (repository / "unet" / name).rename(repository / name)
    (repository / "scheduler" / "scheduler_config.json").rename(repository / "scheduler_config.json")
    model = theodolite.load("owner/pipe")
    assert hub[-1] == (None, ["config.json", FILE, "scheduler_config.json"])
    assert (model.name, model.source, model.autoencoder) == ("owner/pipe", f"owner/pipe@{COMMIT}", None)


def test_of_several_weights_the_plain_ones_are_taken_else_a_variant(hub, repository):
    (repository / "unet" / FILE).unlink()
    fetch("owner/pipe", "unet")
    assert hub[-1][1][1] == "unet/diffusion_pytorch_model.fp16.safetensors"


def without(folder, *names):
    for name in names:
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("missing", "subfolder", "message"),
    [
        (["scheduler/scheduler_config.json"], "unet", "has no scheduler/scheduler_config.json"),
        ([f"unet/{FILE}", "unet/diffusion_pytorch_model.fp16.safetensors"], "unet", "pickled"),
        ([f"vae/{FILE}"], "unet", "weights expected in owner/pipe/vae"),
        ([], "transformer", "no config.json in transformer; give subfolder= as one of unet, vae"),
    ],
)
def test_without_what_is_needed_no_weights_are_downloaded(hub, repository, missing, subfolder, message):
    without(repository, *missing)
    with pytest.raises(InputError, match=message):
        theodolite.load("owner/pipe", subfolder=subfolder)
    assert not any(file.endswith(".safetensors") for _, files in hub for file in files)


@pytest.fixture
def cache(repository, tmp_path, monkeypatch):
    """The repository in a local cache, and no connection."""
    place = tmp_path / "cache" / "models--owner--pipe"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    shutil.copytree(repository, place / "snapshots" / COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return place / "snapshots" / COMMIT


def test_without_a_connection_the_cache_is_used(cache):
    model = theodolite.load("owner/pipe", subfolder="unet")
    assert (model.name, model.source) == ("owner/pipe/unet", f"owner/pipe/unet@{COMMIT}")
    assert fetch("owner/pipe").subfolder == "vae"
    (cache / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(InputError, match=r"in the local cache \(the hub cannot be reached\) has no scheduler"):
        theodolite.load("owner/pipe", subfolder="unet")


def test_without_connection_and_cache_one_clear_line(cache):
    for name, revision in (("owner/surely-not-cached", None), ("owner/pipe", "v2")):
        with pytest.raises(InputError, match="the hub cannot be reached and it is not in the local cache") as caught:
            theodolite.load(name, subfolder="unet", revision=revision)
        assert "\n" not in str(caught.value)


def error_of(kind):
    """An error of the hub's client, without the answer of a server that it is usually made from."""
    made = getattr(huggingface_hub.errors, kind)
    error = made.__new__(made)
    Exception.__init__(error, "refused\nmore")
    return error


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("RepositoryNotFoundError", "no repository on the hub"),
        ("RevisionNotFoundError", "no revision 'v9' on the hub"),
        ("GatedRepoError", "is gated: accept its terms"),
    ],
)
def test_what_the_hub_refuses_is_one_clear_line(monkeypatch, kind, message):
    def refused(self, *arguments, **keywords):
        raise error_of(kind)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refused)
    with pytest.raises(InputError, match=message) as caught:
        theodolite.load("owner/pipe", subfolder="unet", revision="v9")
    assert "\n" not in str(caught.value)


def test_a_download_that_is_refused_or_breaks_is_one_clear_line(hub, monkeypatch):
    for error, message in (
        (error_of("GatedRepoError"), "is gated"),
        (OSError("broken\npipe"), "the hub gave no answer: broken; check"),
    ):

        def fails(*arguments, error=error, **keywords):
            raise error

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
        with pytest.raises(InputError, match=message):
            theodolite.load("owner/pipe", subfolder="unet")
