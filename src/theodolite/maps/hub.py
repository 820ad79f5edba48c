"""Models of the hub: the few files that are needed, downloaded or found in the local cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from theodolite.errors import InputError, informative_line
from theodolite.maps.checkpoints import AUTOENCODERS, WEIGHTS, diffusers_module, read_json, variant_of
from theodolite.maps.pipelines import NETWORKS, SCHEDULER, is_denoiser

__all__ = ["Fetched", "fetch"]


@dataclass(frozen=True)
class Fetched:
    """What of a hub repository `owner/name` is on the disk.

    Attributes:
        repository: its id.
        folder: the local copy, named by its commit.
        subfolder: where the model is in it; None for its root.
    """

    repository: str
    folder: Path
    subfolder: str | None

    @property
    def place(self) -> Path:
        """The folder of the model."""
        return self.folder / (self.subfolder or "")

    def called(self, part: Path) -> tuple[str, str]:
        """What reports call the model in `part`, and its source: the hub id, with the commit."""
        name = "/".join((self.repository, *part.relative_to(self.folder).parts))
        return name, f"{name}@{self.folder.name}"


def fetch(repository: str, subfolder: str | None = None, revision: str | None = None) -> Fetched:
    """Download what one model of a hub repository needs and the local cache lacks: no pickles, one variant of weights.

    Of an autoencoder that is its configuration and weights; of a denoising network its scheduler too, and the
    autoencoder beside it. Without `subfolder` the root is tried first, then an autoencoder, then a network. Without a
    connection the cache is used.

    Raises:
        InputError: the hub cannot be reached and the cache does not do; no such repository, revision or subfolder; a
            gated repository; no scheduler; no weights, or pickled ones only.
    """
    diffusers_module()
    names = _listed(repository, revision)
    if names is None:
        folder = _snapshot(repository, revision, None)
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        source = f"{repository} in the local cache (the hub cannot be reached)"
        part = _place(names, source, subfolder)
        _needed(names, source, part, folder)
        return Fetched(repository, folder, part or None)
    part = _place(names, repository, subfolder)
    needed = _files(names, repository, part)
    if part.rpartition("/")[2] not in AUTOENCODERS:  # what it is, its configuration says
        folder = _snapshot(repository, revision, [_inside(part, "config.json")])
        needed = _needed(names, repository, part, folder)
    return Fetched(repository, _snapshot(repository, revision, needed), part or None)


def _needed(names: Sequence[str], source: str, part: str, folder: Path) -> list[str]:
    """The files of a model whose configuration is in `folder`, and of what it cannot do without."""
    files = _files(names, source, part)
    if not is_denoiser(read_json(folder / part / "config.json")):
        return files
    return [*files, _scheduler(names, source, part), *_autoencoder(names, source, part)]


def _scheduler(names: Sequence[str], source: str, part: str) -> str:
    parent = part.rpartition("/")[0]
    candidates = [_inside(_inside(parent, "scheduler"), SCHEDULER)] * bool(part) + [_inside(part, SCHEDULER)]
    file = next((name for name in candidates if name in names), None)
    if file is None:
        raise InputError(
            f"a denoising network with its scheduler expected, {source} has no {candidates[0]}; download it, save its "
            "scheduler beside it with `scheduler.save_pretrained(...)`, and load the folder"
        )
    return file


def _autoencoder(names: Sequence[str], source: str, part: str) -> list[str]:
    """The files of the autoencoder beside a network, where there is one."""
    parent = part.rpartition("/")[0]
    siblings = [_inside(parent, name) for name in AUTOENCODERS if part]
    folder = next((sibling for sibling in siblings if _inside(sibling, "config.json") in names), None)
    return [] if folder is None else _files(names, source, folder)


def _place(names: Sequence[str], source: str, subfolder: str | None) -> str:
    """The folder of the model among the files of a repository; empty for its root."""
    folders = [name.rpartition("/")[0] for name in names if name.rpartition("/")[2] == "config.json"]
    candidates = [subfolder.strip("/")] if subfolder else ["", *AUTOENCODERS, *NETWORKS]
    part = next((place for place in candidates if place in folders), None)
    if part is None:
        raise InputError(
            f"{source} has no config.json in {subfolder or 'its root or its vae'}; "
            f"give subfolder= as one of {', '.join(filter(None, folders)) or 'those that have one: none'}"
        )
    return part


def _files(names: Sequence[str], source: str, part: str) -> list[str]:
    """The configuration and one variant of the weights."""
    here = [name.rpartition("/")[2] for name in names if name.rpartition("/")[0] == part]
    variant = variant_of(here, _inside(source, part) if part else source)
    weights = [name for name in here if (match := WEIGHTS.fullmatch(name)) and match["variant"] == variant]
    index = [name for name in here if ".safetensors.index." in name]
    return [_inside(part, name) for name in ("config.json", *weights, *index)]


def _inside(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _listed(repository: str, revision: str | None) -> list[str] | None:
    """The files of a repository; None where the hub cannot be reached."""
    from huggingface_hub import HfApi, errors

    try:
        info = HfApi().model_info(repository, revision=revision, timeout=10)
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{repository} has no revision {revision!r} on the hub") from error
    except errors.GatedRepoError as error:
        raise _gated(repository) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{repository!r} is no folder here and no repository on the hub (a private or gated one needs a login)"
        ) from error
    except Exception:  # no connection, offline mode, a proxy: each has its own type
        return None
    return [file.rfilename for file in info.siblings or ()]


def _snapshot(repository: str, revision: str | None, files: Sequence[str] | None) -> Path:
    """The local copy with the files that are wanted; what the cache has where that is None."""
    from huggingface_hub import errors, snapshot_download

    try:
        if files is None:
            return Path(snapshot_download(repository, revision=revision, local_files_only=True))
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(files)))
    except errors.GatedRepoError as error:
        raise _gated(repository) from error
    except Exception as error:  # the hub's client raises many types
        reason = "it is not in the local cache" if files is None else informative_line(error)
        reach = "the hub cannot be reached and " if files is None else "the hub gave no answer: "
        raise InputError(
            f"{repository!r} is no folder here, {reach}{reason}; check the path, or the connection"
        ) from error


def _gated(repository: str) -> InputError:
    return InputError(
        f"{repository} is gated: accept its terms on its page of the hub, log in with `hf auth login`, and try again"
    )
