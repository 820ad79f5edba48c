"""A survey of images with roles: those that are judged, and those that they are judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from theodolite.data.images import ImageFile, ImageSet
from theodolite.surveys.engine import Survey

if TYPE_CHECKING:
    from theodolite.maps import Autoencoder
    from theodolite.surveys.plan import Plan
    from theodolite.surveys.store import RunFolder

__all__ = ["RoledSurvey", "in_one"]


class RoledSurvey(Survey):
    """A survey whose record says the role of every image.

    Args:
        plan: of the survey.
        autoencoder: the model.
        images: of all roles.
        folder: the run folder.
        roles: of each sample.
        more: what the record holds beside: its `kind`, the `command` that repeats it.
    """

    def __init__(
        self,
        plan: Plan,
        autoencoder: Autoencoder,
        images: ImageSet,
        folder: RunFolder,
        roles: Mapping[str, str],
        more: Mapping[str, Any],
    ) -> None:
        super().__init__(plan, autoencoder, images, folder)
        self.roles, self.more = roles, more

    def configuration(self) -> dict[str, Any]:
        """That of a survey, with the roles and what stands beside them."""
        found = super().configuration()
        files = [{**file, "role": self.roles[file["sample"]]} for file in found["data"]["files"]]
        return {**found, **self.more, "data": {**found["data"], "files": files}}


def in_one(sets: Sequence[ImageSet], chosen: Mapping[str, Sequence[ImageFile]]) -> tuple[ImageSet, dict[str, str]]:
    """The chosen images of several folders as one set, in the folder of the first, and the role of each sample.

    Args:
        sets: the folders, of which what was skipped is kept.
        chosen: images by role, which comes before the names of their samples.
    """
    named = {role: [replace(image, sample=f"{role}-{image.sample}") for image in own] for role, own in chosen.items()}
    skipped = tuple(one for each in sets for one in each.skipped)
    images = tuple(image for own in named.values() for image in own)
    return ImageSet(sets[0].folder, images, skipped), {one.sample: role for role, own in named.items() for one in own}
