"""What people are told of a number: its label, unit, formula, source and meaning, written once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

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


def described(known: Mapping[str, Quantity], names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Label, unit, formula, source and meaning of quantities by name, in the order of `names`.

    A name that is not known (another scale or radius) is described as a variant of the quantity whose name it begins
    with.
    """
    words = {name: {key: text for key, text in asdict(item).items() if key != "name"} for name, item in known.items()}
    return {name: words.get(name) or _variant(name, words) for name in names}


def _variant(name: str, words: Mapping[str, dict[str, str]]) -> dict[str, str]:
    bases = [base for base in words if name.startswith(f"{base}_")]
    if not bases:
        return {"label": name.replace("_", " "), "unit": "", "formula": "", "source": "", "meaning": ""}
    base = max(bases, key=len)
    return {**words[base], "label": f"{words[base]['label']} ({name[len(base) + 1 :]})"}
