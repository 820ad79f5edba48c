"""What people are told of a number: its label, unit, formula, source and meaning, written once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

__all__ = ["Quantity", "described"]


@dataclass(frozen=True)
class Quantity:
    """A number that something returns.

    Attributes:
        name: in tables.
        label: in pictures.
        unit: of the value; empty for a pure number.
        formula: in plain text.
        source: author, year and identifier, or "derived here".
        meaning: one sentence for a reader of the report.
    """

    name: str
    label: str
    unit: str = ""
    formula: str = ""
    source: str = ""
    meaning: str = ""


def described(known: Mapping[str, Quantity], names: Iterable[str]) -> dict[str, Quantity]:
    """The words of quantities by name, in the order of `names`.

    A name that is not known (another scale or radius) is described as a variant of the quantity whose name it begins
    with.
    """
    return {name: known.get(name) or _variant(name, known) for name in names}


def _variant(name: str, known: Mapping[str, Quantity]) -> Quantity:
    base = max((base for base in known if name.startswith(f"{base}_")), key=len, default=None)
    if base is None:
        return Quantity(name, name.replace("_", " "))
    return replace(known[base], name=name, label=f"{known[base].label} ({name[len(base) + 1 :]})")
