"""Which images of many are taken: a random order that goes through groups and sub-folders in turn."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence

__all__ = ["drawn_order"]


def drawn_order(
    names: Sequence[str], seed: int, groups: Sequence[Hashable] | None = None, folders: Sequence[Hashable] | None = None
) -> list[int]:
    """The indices of images in an order whose beginnings are samples of any size.

    At random a first image of every group, then a second of every group, and so on; among the images of one such turn,
    one of every folder, then another of every folder. With groups of one image each this is a sample stratified by
    folder. What is random is a hash of seed and name, so that an image that is added moves no other one.

    Args:
        names: of the images, each once.
        seed: of the draw.
        groups: what each image belongs to, of which two images tell less than two of different groups; each to itself
            when None.
        folders: the sub-folder of each; all in one when None.

    Example:
        >>> order = drawn_order(["a", "b", "c", "d", "e", "f"], 0, folders=["cats"] * 4 + ["dogs"] * 2)
        >>> sorted(index < 4 for index in order[:4])
        [False, False, True, True]
    """
    shuffled = sorted(range(len(names)), key=lambda index: hashlib.sha256(f"{seed} {names[index]}".encode()).digest())
    turns: Counter[Hashable] = Counter()
    ranks: Counter[Hashable] = Counter()
    keys: dict[int, tuple[int, int]] = {}
    for index in shuffled:
        group = names[index] if groups is None else groups[index]
        turn = turns[group]
        here = (turn, None if folders is None else folders[index])
        keys[index] = turn, ranks[here]
        turns[group] += 1
        ranks[here] += 1
    return sorted(shuffled, key=keys.__getitem__)
