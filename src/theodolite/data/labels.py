"""The labels of test images, from a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from theodolite.data.conditions import EMBEDDINGS
from theodolite.errors import InputError

__all__ = ["classes_of", "labels_among", "read_labels"]

_LABELS = {"0": 0, "normal": 0, "1": 1, "unusual": 1}
_HEAD = {"file", "label"}


def read_labels(path: str | None, files: Iterable[str]) -> dict[str, int]:
    """Labels by file, of the files that there are: 0 for normal, 1 for unusual; none without a path.

    Raises:
        InputError: a file that cannot be read, other columns, unknown or repeated files, labels of one kind.
    """
    if path is None:
        return {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream, skipinitialspace=True)
            if not set(rows.fieldnames or ()) >= _HEAD:
                raise InputError(f"{path} expected to begin with the columns file,label, got {rows.fieldnames}")
            return _checked(path, [(row["file"], row["label"]) for row in rows], {*files})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the labels file {path}: {reason}; give a CSV with columns file,label") from error


def labels_among(labels: Mapping[str, int], files: Sequence[str], path: str | None) -> dict[str, int] | None:
    """The labels of the images that are measured; None where no image has a label at all.

    Raises:
        InputError: those that are left are of one kind.
    """
    known = {file: labels[file] for file in files if file in labels}
    if labels and len(set(known.values())) < 2:
        classes = f"only {next(iter(known.values()))}" if known else "none"
        raise InputError(f"labels of both kinds expected among the {len(files)} test images, got {classes} in {path}")
    return known if labels else None


def _checked(path: str, rows: Sequence[tuple[str | None, str | None]], files: set[str]) -> dict[str, int]:
    labels: dict[str, int] = {}
    for file, label in rows:
        if file not in files:
            raise InputError(
                f"{path} names {file!r}, which is no test sample; give paths inside the folder, or of latents seed-3"
            )
        if label is None or label.strip().lower() not in _LABELS:
            raise InputError(f"{path} expected 0 (normal) or 1 (unusual) for {file}, got {label!r}")
        if file in labels:
            raise InputError(f"{path} names {file} twice; keep one line for each file")
        labels[file] = _LABELS[label.strip().lower()]
    if len(set(labels.values())) < 2:
        classes = f"only {next(iter(labels.values()))}" if labels else "none"
        raise InputError(f"labels of both kinds, 0 and 1, expected in {path}, got {classes}")
    return labels


def classes_of(path: str | None, files: Mapping[str, str]) -> dict[str, int | str]:
    """The condition of every image by sample: from a CSV file, else from the folder with a whole number for its name.

    Args:
        path: of a CSV file with the columns file,class; None for the names of folders, e.g. ``3/shoe.png``. A class is
            a whole number, or a `.safetensors` file with the embeddings of the image's prompt, by its path from the
            folder of the CSV file.
        files: of every sample the path inside its folder.

    Returns:
        By sample, paths of embeddings as text; empty where no image has a class, for a model without conditions.

    Raises:
        InputError: a file that cannot be read or is not there, or images of which some have a class and some none.
    """
    if path is None:
        by_folder: Mapping[str, int | str | None] = {
            file: next((int(part) for part in file.split("/")[:-1] if part.isdecimal()), None)
            for file in files.values()
        }
    else:
        by_folder = _classes_in(path)
    classes = {sample: label for sample, file in files.items() if (label := by_folder.get(file)) is not None}
    if classes and len(classes) < len(files):
        lacking = next(file for sample, file in files.items() if sample not in classes)
        source = path or "the names of folders"
        raise InputError(
            f"a class of every image expected from {source}, got none of {lacking}; name it, or leave it out"
        )
    return classes


def _classes_in(path: str) -> dict[str, int | str | None]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream, skipinitialspace=True)
            if not set(rows.fieldnames or ()) >= {"file", "class"}:
                raise InputError(f"{path} expected to begin with the columns file,class, got {rows.fieldnames}")
            by_row = {row["file"]: str(row["class"]).strip() for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot read the classes file {path}: {reason}; give a CSV with columns file,class"
        ) from error
    return {file: _class_of(path, file, label) for file, label in by_row.items()}


def _class_of(path: str, file: str, label: str) -> int | str:
    """A class as a number, or the path of a file of embeddings."""
    if label.isdecimal():
        return int(label)
    if not label.endswith(EMBEDDINGS):
        raise InputError(
            f"{path} expected a class as a whole number for {file}, or a {EMBEDDINGS} file of embeddings, got {label!r}"
        )
    embeddings = Path(path).parent / label
    if not embeddings.is_file():
        raise InputError(f"{path} names {label} for {file}, which is no file beside it; write the embeddings there")
    return str(embeddings)
